import type { Model } from '$lib/state/model';

/** What the frame around the views shows over them. */
class Shell {
  palette = $state(false);
  /** What the palette opens with. */
  paletteText = $state('');
  shortcuts = $state(false);
  adding = $state(false);
  importing = $state(false);

  /** Name of the command key on this machine. */
  readonly mod = typeof navigator !== 'undefined' && /Mac|iP(hone|ad)/.test(navigator.userAgent) ? 'Cmd' : 'Ctrl';

  togglePause({ metrics }: Model): void {
    if (metrics.pausedAt === undefined) metrics.pause();
    else metrics.resume();
  }
}

export const shell = new Shell();
