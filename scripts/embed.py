"""Writes a run's embeddings of test images for TensorBoard's projector.

python scripts/embed.py runs/cnn/seed=1         writes to the run's tensorboard/ folder
tensorboard --logdir runs/cnn                   select PROJECTOR; color by class, prediction or correct
"""

from pathlib import Path

from cifar10.inference.command_line import make_parser, one_line_errors

MAX_IMAGES = 10_000
"""Limit of the sprite image that browsers load."""


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--images", type=int, default=2000, metavar="N", help="number of test images (default: 2000)")
    args = parser.parse_args()
    if not 2 <= args.images <= MAX_IMAGES:
        parser.error(f"--images {args.images}: expected 2 to {MAX_IMAGES:,}")

    from cifar10.results.projector import write_embedding
    from cifar10.results.saved_run import SavedRun

    with one_line_errors():
        count = write_embedding(SavedRun(args.run), args.images)
    print(f"{args.run}: wrote {count} embeddings; tensorboard --logdir {args.run} shows them under PROJECTOR")


if __name__ == "__main__":
    main()
