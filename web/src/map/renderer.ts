/** Draws points with WebGL: one call for all of them, and nothing sent but where they are seen from. */

import type { View } from "./geometry";

const VERTEX = `#version 300 es
uniform vec2 box;
uniform vec3 view;
uniform float size;
in vec2 place;
in vec4 colour;
out vec4 shade;
void main() {
  vec2 pixel = place * view.x + view.yz;
  gl_Position = vec4(pixel.x / box.x * 2.0 - 1.0, 1.0 - pixel.y / box.y * 2.0, 0.0, 1.0);
  gl_PointSize = size;
  shade = colour;
}`;
const FRAGMENT = `#version 300 es
precision highp float;
uniform float size;
in vec4 shade;
out vec4 pixel;
void main() {
  float edge = (0.5 - distance(gl_PointCoord, vec2(0.5))) * size;
  float alpha = shade.a * clamp(edge, 0.0, 1.0);
  pixel = vec4(shade.rgb * alpha, alpha);
}`;

export class Renderer {
  readonly #gl: WebGL2RenderingContext;
  readonly #canvas: HTMLCanvasElement;
  readonly #box: WebGLUniformLocation | null;
  readonly #view: WebGLUniformLocation | null;
  readonly #size: WebGLUniformLocation | null;
  readonly #colours: WebGLBuffer;
  readonly #count: number;

  /** @throws Error where the browser has no WebGL 2 */
  constructor(canvas: HTMLCanvasElement, places: Float32Array) {
    const gl = canvas.getContext("webgl2", { antialias: false, alpha: true, powerPreference: "low-power" });
    if (!gl) throw new Error("The map needs WebGL 2, which this browser does not have or has switched off.");
    this.#gl = gl;
    this.#canvas = canvas;
    this.#count = places.length / 2;
    const made = program(gl);
    gl.useProgram(made);
    this.#box = gl.getUniformLocation(made, "box");
    this.#view = gl.getUniformLocation(made, "view");
    this.#size = gl.getUniformLocation(made, "size");
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.clearColor(0, 0, 0, 0);
    buffer(gl, made, "place", 2, gl.FLOAT, false);
    gl.bufferData(gl.ARRAY_BUFFER, places, gl.STATIC_DRAW);
    this.#colours = buffer(gl, made, "colour", 4, gl.UNSIGNED_BYTE, true);
    gl.bufferData(gl.ARRAY_BUFFER, this.#count * 4, gl.DYNAMIC_DRAW);
  }

  /** @param colours red, green, blue and opacity of every point, one behind the other */
  paint(colours: Uint8Array): void {
    this.#gl.bindBuffer(this.#gl.ARRAY_BUFFER, this.#colours);
    this.#gl.bufferSubData(this.#gl.ARRAY_BUFFER, 0, colours);
  }

  /** Draws a box of `width` by `height`; `size` is the width of a point. All are in pixels of the page. */
  draw(view: View, size: number, width: number, height: number): void {
    const gl = this.#gl;
    const scale = devicePixelRatio || 1;
    fit(this.#canvas, width * scale, height * scale);
    gl.viewport(0, 0, this.#canvas.width, this.#canvas.height);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.uniform2f(this.#box, width, height);
    gl.uniform3f(this.#view, view.scale, view.left, view.top);
    gl.uniform1f(this.#size, size * scale);
    gl.drawArrays(gl.POINTS, 0, this.#count);
  }

  /** Gives the graphics memory back. */
  dispose(): void {
    this.#gl.getExtension("WEBGL_lose_context")?.loseContext();
  }
}

/** Makes a canvas so many pixels large; that it is already costs nothing. */
export function fit(canvas: HTMLCanvasElement, width: number, height: number): void {
  const w = Math.round(width);
  const h = Math.round(height);
  if (canvas.width !== w) canvas.width = w;
  if (canvas.height !== h) canvas.height = h;
}

function buffer(gl: WebGL2RenderingContext, of: WebGLProgram, name: string, size: number, type: number, unit: boolean): WebGLBuffer {
  const made = gl.createBuffer();
  gl.bindBuffer(gl.ARRAY_BUFFER, made);
  const at = gl.getAttribLocation(of, name);
  gl.enableVertexAttribArray(at);
  gl.vertexAttribPointer(at, size, type, unit, 0, 0);
  return made;
}

function program(gl: WebGL2RenderingContext): WebGLProgram {
  const made = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]] as const) {
    const shader = gl.createShader(kind)!;
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(made, shader);
  }
  gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS)) throw new Error(`The map cannot be drawn: ${gl.getProgramInfoLog(made)}`);
  return made;
}
