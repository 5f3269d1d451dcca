"""Writes a run's embeddings of test images for TensorBoard's PROJECTOR.

python scripts/embed.py runs/cnn/seed=1         writes into the run's tensorboard/
tensorboard --logdir runs/cnn                   then choose PROJECTOR; colour by class, prediction, or correctness
"""

from pathlib import Path

from cifar10.inference.command_line import make_parser, one_line_errors

MOST = 10_000
"""A browser draws no more, and accepts no larger sprite image."""


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("run", type=Path, help="the folder of a finished run")
    parser.add_argument("--images", type=int, default=2000, metavar="N", help="the first N test images (default: 2000)")
    args = parser.parse_args()
    if not 2 <= args.images <= MOST:
        parser.error(f"--images {args.images}: choose 2 to {MOST:,}")

    from cifar10.results.projector import write_embedding
    from cifar10.results.saved_run import SavedRun

    with one_line_errors():
        points = write_embedding(SavedRun(args.run), args.images)
    print(f"{args.run}: {points} test images; tensorboard --logdir {args.run} shows them under PROJECTOR")


if __name__ == "__main__":
    main()
