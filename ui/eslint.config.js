import js from '@eslint/js';
import svelte from 'eslint-plugin-svelte';
import globals from 'globals';
import ts from 'typescript-eslint';
import svelteConfig from './svelte.config.js';

const onlyTransport = {
  'no-restricted-imports': [
    'error',
    { patterns: [{ group: ['@tauri-apps/*'], message: 'only src/lib/transport names the host' }] },
  ],
};

export default ts.config(
  { ignores: ['dist', 'node_modules', 'src/lib/contract', 'test-results', 'playwright-report'] },
  js.configs.recommended,
  ...ts.configs.strict,
  ...svelte.configs.recommended,
  { languageOptions: { globals: { ...globals.browser, ...globals.node } } },
  {
    files: ['**/*.svelte', '**/*.svelte.ts'],
    languageOptions: { parserOptions: { parser: ts.parser, svelteConfig } },
  },
  {
    rules: {
      ...onlyTransport,
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      eqeqeq: 'error',
      // Routes are hashes, made by one function; there is no base path to resolve.
      'svelte/no-navigation-without-resolve': 'off',
      // Maps and sets that never leave a computation need no reactivity.
      'svelte/prefer-svelte-reactivity': 'off',
      // `{' '}` keeps a space that the formatter would drop.
      'svelte/no-useless-mustaches': 'off',
    },
  },
  { files: ['**/*.svelte', '**/*.svelte.ts', '**/*.ts'], rules: { 'no-undef': 'off' } },
  { files: ['src/lib/transport/**'], rules: { 'no-restricted-imports': 'off' } },
  {
    // The kit knows no domain. That features do not know each other is checked by `cargo xtask check`.
    files: ['src/kit/**', 'src/charts/**'],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            {
              group: ['$features/*', '$views/*', '$lib/state/*', '$lib/contract'],
              message: 'the kit has no domain words',
            },
          ],
        },
      ],
    },
  },
);
