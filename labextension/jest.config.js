module.exports = {
  testEnvironment: 'jsdom',
  roots: ['<rootDir>/test'],
  globals: { AEGIS_VERSION: require('./package.json').version },
  testMatch: ['**/*.test.ts'],
  transform: { '^.+\\.ts$': ['@swc/jest', { jsc: { target: 'es2022' } }] },
};
