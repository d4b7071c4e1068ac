/** The version of this package, put in by the bundler: that of package.json and of the wheel. */

declare const AEGIS_VERSION: string;

export const VERSION = AEGIS_VERSION;
