import { settled, zoomOf, type Zoom } from '$charts/zoom';
import { now } from '$kit/now.svelte';
import { prefs, RANGES } from './prefs.svelte';
import { router } from './router.svelte';

/** The span that all charts of the page show: it stands in the address, as `from` and `to`, so that a link opens the same moment. */
class Zoomed {
  #from = $derived(router.route.query.get('from'));
  #to = $derived(router.route.query.get('to'));
  /** Null while charts show what is new. */
  readonly span = $derived(zoomOf(this.#from, this.#to));

  /** What charts read: a span, or so many milliseconds up to now. */
  get reach(): Zoom | number {
    return this.span ?? prefs.rangeMs;
  }

  /** The same as entries of an address, to go on with on another page. */
  get query(): Record<string, string> {
    return this.span === null ? {} : { from: String(this.span.from), to: String(this.span.to) };
  }

  /** Shows this span, or as much of it as there can be. More than what is new is the next wider range. */
  readonly set = (wanted: Zoom | null): void => {
    const end = now.exact();
    const next = wanted && settled(wanted, end, prefs.rangeMs);
    if (wanted && !next && this.span === null && wanted.to - wanted.from > prefs.rangeMs * 1.5)
      prefs.range = RANGES[RANGES.indexOf(prefs.range) + 1] ?? prefs.range;
    router.setQueries({ from: next ? String(next.from) : '', to: next ? String(next.to) : '' });
  };
}

export const zoom = new Zoomed();
