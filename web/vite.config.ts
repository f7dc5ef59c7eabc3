import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";

// `npm run dev` asks a server that runs beside it: `soundkin serve`, or the one in SOUNDKIN_URL.
const server = process.env.SOUNDKIN_URL ?? "http://127.0.0.1:8765";

export default defineConfig({
  plugins: [svelte()],
  base: "./", // the app works under any path of a reverse proxy
  build: {
    outDir: "../src/soundkin/serve/static",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0, // the content-security policy has no data: URLs
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: { proxy: { "/api": server, "/healthz": server } },
  test: { include: ["tests/**/*.test.ts"], environment: "node" },
});
