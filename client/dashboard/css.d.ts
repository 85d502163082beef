/** Style sheets are imported for their effect, by the page alone. */
declare module '*.css';
