import { fileURLToPath } from 'node:url';
import { mergeConfig } from 'vite';
import panel from '../vite.config';

/** The page that measures charts: the panel's own components, kept out of its bundle. */
export default mergeConfig(panel, {
  root: fileURLToPath(new URL('.', import.meta.url)),
  base: './',
  publicDir: false,
  build: { emptyOutDir: true, rolldownOptions: { input: fileURLToPath(new URL('charts.html', import.meta.url)) } },
});
