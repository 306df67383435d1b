import type { Model } from '$lib/state/model';

/** What the frame around the views shows over them. */
class Shell {
  palette = $state(false);
  shortcuts = $state(false);
  /** The dialog to add a server, with the text that it begins with. */
  adding = $state.raw<{ text: string }>();
  /** The import, with a file or a text to preview at once. */
  importing = $state.raw<{ path?: string; text?: string; reference?: boolean }>();

  /** Name of the command key on this machine. */
  readonly mod = typeof navigator !== 'undefined' && /Mac|iP(hone|ad)/.test(navigator.userAgent) ? 'Cmd' : 'Ctrl';

  togglePause({ metrics }: Model): void {
    if (metrics.pausedAt === undefined) metrics.pause();
    else metrics.resume();
  }
}

export const shell = new Shell();
