const { DefinePlugin } = require('@rspack/core');
const { version } = require('./package.json');

module.exports = {
  // Ids that depend on the sources only, so that the bundle is the same at any path.
  optimization: { moduleIds: 'named', chunkIds: 'named' },
  plugins: [new DefinePlugin({ AEGIS_VERSION: JSON.stringify(version) })],
};
