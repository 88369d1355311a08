import { defineConfig } from "vite";

export default defineConfig({
  esbuild: { jsx: "automatic", jsxImportSource: "preact" },
  build: {
    target: "es2022",
    // Scripts in the document itself are forbidden by our policy.
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
  },
});
