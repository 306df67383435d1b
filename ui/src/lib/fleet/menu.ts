import type { ServerView } from '$lib/contract';
import type { MenuItem } from '$kit/Menu.svelte';
import type { Model } from '$lib/state/model';
import { router, serverHref } from '$lib/state/router.svelte';
import { act, enable, probe, reset } from './actions';
import { canBeEnabled } from './words';

/** Everything that can be done to a server, for its menu on any screen. */
export function serverMenu(model: Model, server: ServerView): MenuItem[] {
  const name = server.spec.id;
  const disabled = server.spec.disabled !== undefined;
  const external = server.spec.transport.kind === 'url' || server.spec.transport.kind === 'sse';
  const up = server.status !== 'stopped' && !disabled;
  const verb = (verb: 'start' | 'stop' | 'restart') => () => void act(model, { verb, servers: [name] });
  const items: MenuItem[] = [
    {
      label: 'Start',
      icon: 'play',
      disabled: disabled || (up && server.status !== 'failed' && server.status !== 'sleeping'),
      onselect: verb('start'),
    },
    { label: 'Restart', icon: 'restart', note: 'R', disabled: disabled || external, onselect: verb('restart') },
    { label: 'Stop', icon: 'stop', note: 'S', danger: true, disabled: !up, onselect: verb('stop') },
    // A check never wakes what sleeps, so there is nobody to ask.
    {
      label: 'Check now',
      icon: 'probe',
      disabled: !up || server.status === 'sleeping',
      onselect: () => void probe(model, name),
    },
    { label: 'Logs', icon: 'logs', note: 'L', separated: true, onselect: () => router.go(serverHref(name, 'logs')) },
    { label: 'Tools', icon: 'tools', onselect: () => router.go(serverHref(name, 'tools')) },
    { label: 'Config', icon: 'file', onselect: () => router.go(serverHref(name, 'config')) },
  ];
  if (server.override)
    items.push({ label: 'Back to declared', icon: 'undo', separated: true, onselect: () => void reset(model, name) });
  if (!disabled || canBeEnabled(server))
    items.push({
      label: disabled ? 'Enable' : 'Disable',
      icon: disabled ? 'check' : 'minus',
      separated: !server.override,
      onselect: () => void enable(model, name, disabled),
    });
  items.push({
    label: 'Remove from fleet.toml',
    icon: 'trash',
    danger: true,
    onselect: () => void act(model, { verb: 'remove', servers: [name] }),
  });
  return items;
}
