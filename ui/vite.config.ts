import { svelte } from '@sveltejs/vite-plugin-svelte';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const src = (path: string) => fileURLToPath(new URL(`./src/${path}`, import.meta.url));

export default defineConfig({
  plugins: [svelte()],
  resolve: {
    alias: {
      $lib: src('lib'),
      $kit: src('kit'),
      $charts: src('charts'),
      $features: src('features'),
      $views: src('views'),
    },
    // Component code that vitest mounts must be the browser's, not the server's.
    conditions: process.env['VITEST'] ? ['browser'] : undefined,
  },
  build: { target: ['es2022', 'safari16'], chunkSizeWarningLimit: 800 },
  // The desktop's development address; the engine behind it is the one that owns the home.
  server: {
    port: 1420,
    strictPort: true,
    // The schema of workflows stands among the documents.
    fs: { allow: ['..'] },
    proxy: { '/ws': { target: 'ws://127.0.0.1:3000', ws: true }, '/api': 'http://127.0.0.1:3000' },
  },
  test: { include: ['src/**/*.test.ts'], environment: 'node' },
});
