/** What is drawn over the points: names of groups, a loop, a path and what was chosen. */

import type { Label } from "./data";
import { freeLine, type Point, type Taken, type View } from "./geometry";
import { fit } from "./renderer";

export interface Over {
  readonly view: View;
  readonly names: readonly Label[];
  /** On the map. */
  readonly loop: readonly Point[];
  /** In pixels, like `ends` and `chosen`. */
  readonly route: readonly Point[];
  readonly ends: readonly Point[];
  readonly chosen: readonly Point[];
  readonly size: number;
}

/** The canvas over the points; its colours are those of its style: `color`, `accent-color` and, for paper, `caret-color`. */
export class Overlay {
  readonly #canvas: HTMLCanvasElement;
  readonly #pen: CanvasRenderingContext2D;
  readonly #style: CSSStyleDeclaration;
  #names = new Map<string, HTMLCanvasElement>(); // drawn once: letters with an edge are slow to draw
  #scale = 1;
  #isBlank = true;

  constructor(canvas: HTMLCanvasElement) {
    this.#canvas = canvas;
    this.#pen = canvas.getContext("2d")!;
    this.#style = getComputedStyle(canvas); // it is live: always what the style is now
  }

  /** Forgets what was drawn in other colours, or for another screen. */
  recolour(): void {
    this.#names.clear();
  }

  /** Draws all of it in a box of `width` by `height` pixels of the page. */
  draw(over: Over, width: number, height: number): void {
    const blank = !(over.names.length || over.loop.length || over.route.length || over.ends.length || over.chosen.length);
    if (blank && this.#isBlank) return;
    this.#isBlank = blank;
    const scale = devicePixelRatio || 1;
    const pen = this.#pen;
    if (scale !== this.#scale) this.recolour();
    this.#scale = scale;
    fit(this.#canvas, width * scale, height * scale);
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.lineJoin = pen.lineCap = "round";
    this.#drawNames(over, width, height, scale);
    const { accentColor: accent, caretColor: paper } = this.#style;
    if (over.chosen.length) ring(pen, over.chosen, over.size / 2 + 1.5, accent);
    if (over.loop.length > 1) {
      const loop = over.loop.map((p) => ({ x: p.x * over.view.scale + over.view.left, y: p.y * over.view.scale + over.view.top }));
      line(pen, loop, accent, 2, true);
      pen.globalAlpha = 0.12;
      pen.fillStyle = accent;
      pen.fill();
      pen.globalAlpha = 1;
    }
    if (over.route.length > 1) {
      line(pen, over.route, paper, 6);
      line(pen, over.route, accent, 2.5);
    }
    for (const [i, p] of over.route.entries()) dot(pen, p, i === 0 || i === over.route.length - 1 ? 7 : 4.5, accent, paper);
    for (const p of over.ends) dot(pen, p, 7, accent, paper);
  }

  /** The name of a group as a picture, `HIGH` pixels of the page high. */
  #named(text: string, scale: number): HTMLCanvasElement {
    let picture = this.#names.get(text);
    if (picture) return picture;
    picture = document.createElement("canvas");
    const pen = picture.getContext("2d")!;
    const font = `540 12px ${this.#style.fontFamily}`;
    pen.font = font;
    fit(picture, (pen.measureText(text).width + 8) * scale, HIGH * scale);
    pen.scale(scale, scale);
    pen.font = font;
    pen.textBaseline = "middle";
    pen.lineJoin = "round";
    pen.lineWidth = 4;
    pen.strokeStyle = this.#style.caretColor;
    pen.globalAlpha = 0.85;
    pen.strokeText(text, 4, HIGH / 2);
    pen.globalAlpha = 1;
    pen.fillStyle = this.#style.color;
    pen.fillText(text, 4, HIGH / 2);
    this.#names.set(text, picture);
    return picture;
  }

  #drawNames({ view, size, names }: Over, width: number, height: number, scale: number): void {
    const taken: Taken[] = [];
    for (const name of names) {
      const middle = name.x * view.scale + view.left;
      const above = name.y * view.scale + view.top - size / 2 - 10;
      const picture = this.#named(name.text, scale);
      const half = picture.width / scale / 2;
      if (middle < -half || middle > width + half || above < -HIGH || above > height + HIGH) continue;
      // Of a group that is seen the whole name is; and letters stand on whole pixels, else they are blurred.
      const x = middle < 0 || middle > width ? middle : Math.max(half, Math.min(width - half, middle));
      const left = Math.round((x - half) * scale) / scale;
      const right = left + 2 * half;
      const y = freeLine(left, right, above, taken);
      if (y === undefined) continue;
      taken.push({ left, right, y });
      this.#pen.drawImage(picture, left, Math.round((y - HIGH / 2) * scale) / scale, 2 * half, HIGH);
    }
  }
}

const HIGH = 20;

function line(pen: CanvasRenderingContext2D, points: readonly Point[], colour: string, width: number, closed = false): void {
  pen.beginPath();
  for (const p of points) pen.lineTo(p.x, p.y);
  if (closed) pen.closePath();
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.stroke();
}

function dot(pen: CanvasRenderingContext2D, p: Point, radius: number, colour: string, edge: string): void {
  pen.beginPath();
  pen.arc(p.x, p.y, radius, 0, 7);
  pen.fillStyle = colour;
  pen.fill();
  pen.lineWidth = 2;
  pen.strokeStyle = edge;
  pen.stroke();
}

function ring(pen: CanvasRenderingContext2D, points: readonly Point[], radius: number, colour: string): void {
  pen.beginPath();
  for (const p of points) {
    pen.moveTo(p.x + radius, p.y);
    pen.arc(p.x, p.y, radius, 0, 7);
  }
  pen.strokeStyle = colour;
  pen.lineWidth = 1.5;
  pen.stroke();
}
