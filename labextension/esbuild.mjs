/** Bundles the widget, for frontends that lack our extension: one module, one style sheet. */

import { build } from 'esbuild';

import packed from './package.json' with { type: 'json' };

await build({
  entryPoints: ['src/widget.ts'],
  outfile: '../aegis_kernel/static/widget.js',
  bundle: true,
  format: 'esm',
  target: 'es2022',
  minify: true,
  charset: 'utf8',
  legalComments: 'none',
  logLevel: 'warning',
  define: { AEGIS_VERSION: JSON.stringify(packed.version) },
});
