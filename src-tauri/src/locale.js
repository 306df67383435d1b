// WebKitGTK makes the page's language out of the locale's name. In the locale C.UTF-8 (servers, containers) that is "C",
// which is no language tag: whoever hands navigator.language to Intl, as the chart library does, gets an exception.
try {
  Intl.getCanonicalLocales(navigator.language);
} catch {
  Object.defineProperty(Navigator.prototype, 'language', { get: () => 'en-US' });
  Object.defineProperty(Navigator.prototype, 'languages', { get: () => ['en-US'] });
}
