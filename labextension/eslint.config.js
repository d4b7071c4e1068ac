const eslint = require('@eslint/js');
const tseslint = require('typescript-eslint');

// Whatever comes over the wire is data: it gets on the page as text nodes only.
const markup = ['innerHTML', 'outerHTML', 'insertAdjacentHTML', 'srcdoc'];

module.exports = tseslint.config(
  { ignores: ['dist/', 'lib/', 'node_modules/', 'src/protocol.ts'] },
  {
    files: ['src/**/*.ts', 'test/**/*.ts'],
    extends: [
      eslint.configs.recommended,
      tseslint.configs.strictTypeChecked,
      tseslint.configs.stylisticTypeChecked,
    ],
    languageOptions: {
      parserOptions: { project: './tsconfig.test.json', tsconfigRootDir: __dirname },
    },
    rules: {
      eqeqeq: 'error',
      'no-console': 'error',
      'no-eval': 'error',
      'no-restricted-properties': [
        'error',
        ...markup.map((property) => ({ property, message: 'Data is text: use textContent.' })),
        { object: 'document', property: 'write', message: 'Data is text: use textContent.' },
      ],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/explicit-module-boundary-types': 'error',
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      // Lumino's signals take a method and its `this` apart.
      '@typescript-eslint/unbound-method': 'off',
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
    },
  },
  {
    files: ['test/**/*.ts'],
    rules: { '@typescript-eslint/no-non-null-assertion': 'off' },
  },
);
