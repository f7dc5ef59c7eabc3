/** What is drawn over the points: names of groups, a loop, a path and what was chosen. */

import type { Label } from "./data";
import type { Point, View } from "./geometry";

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

/** Draws all of it; the colours are those of the canvas: `color`, `accent-color` and, for paper, `caret-color`. */
export function drawOver(canvas: HTMLCanvasElement, over: Over): void {
  const [scale, width, height] = [devicePixelRatio || 1, canvas.clientWidth, canvas.clientHeight];
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const pen = canvas.getContext("2d")!;
  const style = getComputedStyle(canvas);
  const [ink, accent, paper] = [style.color, style.accentColor, style.caretColor];
  pen.scale(scale, scale);
  pen.lineJoin = pen.lineCap = "round";
  names(pen, over, ink, paper, style.fontFamily);
  ring(pen, over.chosen, over.size / 2 + 1.5, accent);
  const loop = over.loop.map((p) => ({ x: p.x * over.view.scale + over.view.left, y: p.y * over.view.scale + over.view.top }));
  if (loop.length > 1) {
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

function names(pen: CanvasRenderingContext2D, over: Over, ink: string, paper: string, font: string): void {
  pen.font = `540 12px ${font}`;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  const taken: { left: number; right: number; y: number }[] = [];
  for (const name of over.names) {
    const [x, y] = [name.x * over.view.scale + over.view.left, name.y * over.view.scale + over.view.top - over.size / 2 - 10];
    const half = pen.measureText(name.text).width / 2 + 8;
    const clash = taken.some((other) => Math.abs(other.y - y) < 26 && x - half < other.right && x + half > other.left);
    if (clash) continue; // the larger group was first
    taken.push({ left: x - half, right: x + half, y });
    pen.lineWidth = 4;
    pen.strokeStyle = paper;
    pen.globalAlpha = 0.85;
    pen.strokeText(name.text, x, y);
    pen.globalAlpha = 1;
    pen.fillStyle = ink;
    pen.fillText(name.text, x, y);
  }
}
