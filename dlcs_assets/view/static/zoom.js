// Drag, wheel and keys for a picture that the page shows without script, too: tiles are put over what is there.
"use strict";

const TILE = 512; // pixels on the screen
const STEP = 0.25; // of the window, for an arrow key

class Viewer {
  constructor(frame) {
    this.frame = frame;
    this.size = { width: Number(frame.dataset.width), height: Number(frame.dataset.height) };
    this.service = new URL(frame.dataset.picture, location.href);
    this.tiles = new Map();
    this.ground = document.createElement("div"); // tiles of other levels stay below, until those of this one are there
    this.frame.replaceChildren(this.ground);
    this.frame.classList.add("live");
    const start = { x: Number(frame.dataset.x), y: Number(frame.dataset.y) };
    this.middle = start;
    this.scale = Math.min(1 / 2 ** Number(frame.dataset.level), 1);
    if (frame.dataset.whole === "yes") this.whole();
    this.listen();
    this.draw();
  }

  get smallest() {
    return Math.min(this.frame.clientWidth / this.size.width, this.frame.clientHeight / this.size.height, 1);
  }

  whole() {
    this.scale = this.smallest;
    this.middle = { x: this.size.width / 2, y: this.size.height / 2 };
  }

  listen() {
    const frame = this.frame;
    let held = null;
    frame.addEventListener("pointerdown", (event) => {
      held = { x: event.clientX, y: event.clientY };
      frame.setPointerCapture(event.pointerId);
    });
    frame.addEventListener("pointermove", (event) => {
      if (held === null) return;
      this.move(held.x - event.clientX, held.y - event.clientY);
      held = { x: event.clientX, y: event.clientY };
    });
    for (const name of ["pointerup", "pointercancel"]) frame.addEventListener(name, () => { held = null; });
    frame.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(2 ** (-event.deltaY / 400), ...this.at(event));
    }, { passive: false });
    frame.addEventListener("dblclick", (event) => this.zoom(2, ...this.at(event)));
    frame.addEventListener("keydown", (event) => {
      const name = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down", "+": "closer", "=": "closer", "-": "farther", 0: "whole" }[event.key];
      if (name === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      this.step(name);
    });
    for (const link of document.querySelectorAll("[data-step]")) { // links that lead to other pages are not needed
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = link.dataset.step;
      button.addEventListener("click", () => this.step(link.dataset.step));
      link.replaceWith(button);
    }
    addEventListener("resize", () => this.draw());
  }

  at(event) { // in the window: the event's own offset is that in a tile
    const box = this.frame.getBoundingClientRect();
    return [event.clientX - box.left - this.frame.clientLeft, event.clientY - box.top - this.frame.clientTop];
  }

  step(name) {
    const across = this.frame.clientWidth * STEP, down = this.frame.clientHeight * STEP;
    switch (name) {
      case "left": return this.move(-across, 0);
      case "right": return this.move(across, 0);
      case "up": return this.move(0, -down);
      case "down": return this.move(0, down);
      case "closer": return this.zoom(2);
      case "farther": return this.zoom(0.5);
      case "whole": this.whole(); return this.draw();
    }
  }

  move(across, down) {
    this.middle = { x: this.middle.x + across / this.scale, y: this.middle.y + down / this.scale };
    this.draw();
  }

  zoom(factor, x = this.frame.clientWidth / 2, y = this.frame.clientHeight / 2) {
    const before = this.scale;
    this.scale = Math.min(Math.max(before * factor, this.smallest), 2);
    const moved = 1 / before - 1 / this.scale; // what is under the pointer stays there
    this.middle.x += (x - this.frame.clientWidth / 2) * moved;
    this.middle.y += (y - this.frame.clientHeight / 2) * moved;
    this.draw();
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.frame;
    const kept = (value, seen, whole) => seen >= whole ? whole / 2 : Math.min(Math.max(value, seen / 2), whole - seen / 2);
    this.middle.x = kept(this.middle.x, width / this.scale, this.size.width);
    this.middle.y = kept(this.middle.y, height / this.scale, this.size.height);
    const left = this.middle.x - width / 2 / this.scale, top = this.middle.y - height / 2 / this.scale;
    const level = Math.max(Math.floor(Math.log2(1 / this.scale) + 0.001), 0);
    const part = TILE * 2 ** level;
    const wanted = new Set();
    const last = { column: Math.ceil(this.size.width / part) - 1, row: Math.ceil(this.size.height / part) - 1 };
    const from = (value) => Math.max(Math.floor(value / part), 0);
    for (let row = from(top); row <= Math.min(from(top + height / this.scale), last.row); row++) {
      for (let column = from(left); column <= Math.min(from(left + width / this.scale), last.column); column++) {
        wanted.add(this.tile(level, part, column, row));
      }
    }
    const complete = [...wanted].every((tile) => tile.image.complete);
    for (const [name, tile] of this.tiles) {
      if (!wanted.has(tile) && (complete || tile.level < level)) {
        tile.image.remove();
        this.tiles.delete(name);
        continue;
      }
      const style = tile.image.style;
      style.zIndex = String(100 - tile.level);
      style.width = `${tile.width * this.scale + 0.5}px`; // no gap between neighbours
      style.height = `${tile.height * this.scale + 0.5}px`;
      style.transform = `translate(${(tile.left - left) * this.scale}px, ${(tile.top - top) * this.scale}px)`;
    }
  }

  tile(level, part, column, row) {
    const name = `${level}/${column}/${row}`;
    if (this.tiles.has(name)) return this.tiles.get(name);
    const left = column * part, top = row * part;
    const width = Math.min(part, this.size.width - left), height = Math.min(part, this.size.height - top);
    const address = new URL(this.service);
    const asked = { left, top, width, height, across: Math.ceil(width / 2 ** level), down: Math.ceil(height / 2 ** level) };
    for (const [key, value] of Object.entries(asked)) address.searchParams.set(key, String(value));
    const image = new Image();
    image.alt = "";
    image.draggable = false;
    image.addEventListener("load", () => this.draw());
    image.src = address.href;
    this.ground.append(image);
    const tile = { level, left, top, width, height, image };
    this.tiles.set(name, tile);
    return tile;
  }
}

for (const frame of document.querySelectorAll(".window[data-picture]")) new Viewer(frame);
