// Reads an image file as (3, 32, 32) uint8 RGB, as `to_tensor` of cifar10/data/image_io.py does with Pillow.

const SIZE = 32;
const BITS = 22; // Pillow resizes with integer weights of this many fractional bits

export async function readImage(file) {
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" }); // applies the EXIF orientation
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white"; // under transparent pixels
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return resize(context.getImageData(0, 0, width, height).data, width, height);
}

// Scales the largest centered square of RGBA pixels, bicubic and antialiased: first along rows, then along columns.
function resize(pixels, width, height) {
  const side = Math.min(width, height);
  const columns = weights(width, (width - side) / 2, side);
  const rows = weights(height, (height - side) / 2, side);
  const narrow = new Uint8ClampedArray(3 * height * SIZE);
  const resized = new Uint8ClampedArray(3 * SIZE * SIZE);
  for (let channel = 0; channel < 3; channel++) {
    for (let y = 0; y < height; y++) {
      columns.forEach(({ first, factors }, x) => {
        const start = 4 * (y * width + first) + channel;
        narrow[(channel * height + y) * SIZE + x] = weightedSum(pixels, start, 4, factors);
      });
    }
    rows.forEach(({ first, factors }, y) => {
      for (let x = 0; x < SIZE; x++) {
        const start = (channel * height + first) * SIZE + x;
        resized[(channel * SIZE + y) * SIZE + x] = weightedSum(narrow, start, SIZE, factors);
      }
    });
  }
  return resized;
}

function weightedSum(values, start, step, factors) {
  let sum = 1 << (BITS - 1);
  for (let index = 0; index < factors.length; index++) sum += values[start + index * step] * factors[index];
  return sum >> BITS;
}

// Returns for each of the 32 output pixels its first input pixel and the integer weights from there.
function weights(length, start, side) {
  const scale = side / SIZE;
  const stretch = Math.max(scale, 1);
  return Array.from({ length: SIZE }, (_, index) => {
    const center = start + (index + 0.5) * scale;
    const first = Math.max(Math.trunc(center - 2 * stretch + 0.5), 0);
    const end = Math.min(Math.trunc(center + 2 * stretch + 0.5), length);
    const values = Array.from({ length: end - first }, (_, offset) => cubic((offset + first - center + 0.5) * (1 / stretch)));
    const total = values.reduce((sum, value) => sum + value, 0);
    const factors = values.map((value) => Math.trunc((value / total) * (1 << BITS) + (value < 0 ? -0.5 : 0.5)));
    return { first, factors };
  });
}

// Cubic convolution with a = -0.5 (Keys, 1981).
function cubic(x) {
  const distance = Math.abs(x);
  if (distance < 1) return (1.5 * distance - 2.5) * distance * distance + 1;
  if (distance < 2) return (((distance - 5) * distance + 8) * distance - 4) * -0.5;
  return 0;
}
