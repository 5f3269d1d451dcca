import * as ort from "./onnxruntime/ort.wasm.bundle.min.js";
import { readImage } from "./image.js";

const TOP = 5; // classes shown per network
const input = document.querySelector("input");
const status = document.querySelector("[role=status]");

ort.env.wasm.numThreads = 1; // several threads need HTTP headers that static hosts do not send
ort.env.wasm.wasmPaths = { wasm: new URL("onnxruntime/ort-wasm-simd-threaded.wasm", import.meta.url).href };

function softmax(logits) {
  const powers = Array.from(logits, (logit) => Math.exp(logit - Math.max(...logits)));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return powers.map((power) => power / total);
}

function element(name, text, parent) {
  const added = parent.appendChild(document.createElement(name));
  added.textContent = text;
  return added;
}

function draw(image) {
  const pixels = new ImageData(32, 32);
  for (let index = 0; index < 1024; index++) {
    pixels.data.set([image[index], image[1024 + index], image[2048 + index], 255], 4 * index);
  }
  document.querySelector("canvas").getContext("2d").putImageData(pixels, 0, 0);
}

function show(list, probabilities, classes) {
  const order = [...classes.keys()].sort((a, b) => probabilities[b] - probabilities[a]).slice(0, TOP);
  list.replaceChildren();
  for (const label of order) {
    const row = element("li", "", list);
    element("span", classes[label], row);
    element("span", `${(100 * probabilities[label]).toFixed(1)}%`, row);
    row.dataset.probability = probabilities[label];
    row.style.setProperty("--share", `${100 * probabilities[label]}%`);
  }
}

async function start() {
  const { classes, models } = await (await fetch("models.json")).json();
  document.querySelector("#classes").textContent = classes.join(", ");
  const networks = [];
  for (const { title, file } of models) {
    const column = element("section", "", document.querySelector("#models"));
    element("h2", title, column);
    networks.push({ session: await ort.InferenceSession.create(file), list: element("ol", "", column) });
  }

  async function classify(file) {
    let image;
    try {
      image = await readImage(file);
    } catch {
      networks.forEach(({ list }) => list.replaceChildren());
      status.textContent = `Cannot read this image: ${file.name}`;
      return;
    }
    draw(image);
    const images = new ort.Tensor("uint8", Uint8Array.from(image), [1, 3, 32, 32]);
    for (const { session, list } of networks) {
      const { logits } = await session.run({ images });
      show(list, softmax(logits.data), classes);
    }
    status.textContent = file.name;
  }

  let last = Promise.resolve(); // a session runs one image at a time
  const add = (files) => {
    const file = [...files].find(({ type }) => type.startsWith("image/")) ?? files[0];
    if (file) last = last.then(() => classify(file));
  };
  input.addEventListener("change", () => add(input.files));
  document.addEventListener("paste", (event) => add(event.clipboardData.files));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dragging");
  });
  document.addEventListener("dragleave", () => document.body.classList.remove("dragging"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dragging");
    add(event.dataTransfer.files);
  });
  input.disabled = false;
  status.textContent = "Ready";
}

start().catch((error) => {
  status.textContent = `Cannot load the networks: ${error.message}`;
});
