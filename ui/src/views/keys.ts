import type { Model } from '$lib/state/model';
import { prefs, RANGES } from '$lib/state/prefs.svelte';
import { href, router, type Place } from '$lib/state/router.svelte';
import { zoom } from '$lib/state/zoom.svelte';
import { shell } from './shell.svelte';

const NUMBERED: readonly Place[] = [
  'overview',
  'servers',
  'traffic',
  'workflows',
  'metrics',
  'alerts',
  'logs',
  'agents',
  'fleets',
];
const GO: Record<string, Place> = {
  o: 'overview',
  s: 'servers',
  t: 'traffic',
  w: 'workflows',
  m: 'metrics',
  l: 'logs',
  a: 'agents',
  f: 'fleets',
  e: 'alerts',
  u: 'settings',
};
/** How long `G` waits for its second key. */
const CHORD_MS = 1200;

function typing(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLInputElement ||
    target instanceof HTMLTextAreaElement ||
    target instanceof HTMLSelectElement ||
    (target instanceof HTMLElement && target.isContentEditable)
  );
}

/** The keys that work everywhere. Views and lists handle theirs first and stop the event. */
export function globalKeys(model: Model): (event: KeyboardEvent) => void {
  let chord = 0;

  function command(event: KeyboardEvent): boolean {
    const key = event.key.toLowerCase();
    const place = NUMBERED[Number(key) - 1];
    if (key === 'k') shell.palette = !shell.palette;
    else if (key === ',') router.go(href('settings'));
    else if (key === 'f' && event.shiftKey) document.querySelector<HTMLElement>('[data-fleet-switcher]')?.click();
    else if (place && /^[1-9]$/.test(key)) router.go(href(place));
    else return false;
    return true;
  }

  function plain(event: KeyboardEvent): boolean {
    const key = event.key.toLowerCase();
    const place = GO[key];
    if (performance.now() - chord < CHORD_MS && place) {
      chord = 0;
      router.go(href(place));
      return true;
    }
    if (key === 'g') chord = performance.now();
    else if (key === 'p') shell.togglePause(model);
    else if (key === '?') shell.shortcuts = true;
    else if (key === '[' || key === ']') {
      const at = RANGES.indexOf(prefs.range) + (key === ']' ? 1 : -1);
      zoom.set(null);
      prefs.range = RANGES[Math.max(0, Math.min(RANGES.length - 1, at))] ?? 30;
    } else return false;
    return true;
  }

  return (event) => {
    if (event.defaultPrevented || event.altKey) return;
    const taken = event.ctrlKey || event.metaKey ? command(event) : !typing(event.target) && plain(event);
    if (taken) event.preventDefault();
  };
}
