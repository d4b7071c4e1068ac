/** Styles are brought in for the bundler's sake only. */

declare module '*.css';
