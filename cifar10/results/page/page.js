"use strict";
// Sorting: a button in each column's heading; once for ascending, again for descending.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const descending = heading.getAttribute("aria-sort") === "ascending";
      const key = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent;
      const numeric = heading.classList.contains("number");
      const compare = (a, b) => (numeric ? key(a) - key(b) : key(a).localeCompare(key(b), "en", { numeric: true }));
      const rows = [...table.tBodies[0].rows].sort((a, b) => (descending ? compare(b, a) : compare(a, b)));
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      table.tBodies[0].append(...rows);
    });
  });
}

// Animations can be stopped: the last picture stands for them.
for (const moving of document.querySelectorAll("img.moving")) {
  const still = moving.parentElement.querySelector("source").srcset;
  const film = moving.src;
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) continue;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "pause";
  const what = moving.closest("figure").querySelector("figcaption").textContent;
  const tell = (word) => {
    button.textContent = word;
    button.setAttribute("aria-label", `${word}: ${what}`);
  };
  tell("Pause");
  button.addEventListener("click", () => {
    const paused = moving.src === still;
    moving.src = paused ? film : still;
    tell(paused ? "Pause" : "Play");
  });
  moving.closest("figure").append(button);
}

// What scrolls in itself can be scrolled by keyboard.
const reachable = () => {
  for (const box of document.querySelectorAll(".scroll, .picture")) {
    const caption = box.parentElement.querySelector("figcaption");
    if (caption) {
      box.role = "region";
      box.ariaLabel = caption.textContent;
    }
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
};
addEventListener("resize", reachable);
reachable();
