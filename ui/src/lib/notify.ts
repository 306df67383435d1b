/** Desktop notices from a browser tab. The desktop window does not need them: its host shows its own. */
import type { Event } from '$lib/contract';
import type { Events } from '$lib/state/events.svelte';

export const hosted = (): boolean => '__TAURI_INTERNALS__' in window;

export function permission(): NotificationPermission | 'unsupported' {
  return 'Notification' in window ? Notification.permission : 'unsupported';
}

/** Tells of failures, recoveries, questions of runs and what a channel for the desktop tells while nobody looks at the page; the returned function ends it. */
export function notifyOf(
  events: Events,
  wanted: () => boolean,
  say: (event: Event) => { title: string; body: string },
): () => void {
  return events.onNew((event) => {
    const asks = event.kind === 'workflow:step' && event.state === 'waiting';
    const alert = event.kind === 'alert:notice';
    if (event.kind !== 'server:failed' && event.kind !== 'server:recovered' && !asks && !alert) return;
    if (hosted() || !wanted() || permission() !== 'granted' || document.hasFocus()) return;
    const { title, body } = say(event);
    new Notification(title, {
      body,
      tag: event.server ?? (asks ? `run-${event.run}-${event.step}` : alert ? `alert-${event.seq}` : 'engine'),
    });
  });
}
