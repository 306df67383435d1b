import { unified } from '$kit/diff';
import type { CallError, Transport } from '$lib/transport';

/**
 * What stands on disk against what was read, where an error is a conflict; null where it is another error. An engine
 * that has taken the file over meanwhile has no difference to tell: then it is read again and compared here.
 */
export async function conflictOf(error: CallError, read: string, call: Transport['call']): Promise<string | null> {
  if (error.code !== 'conflict') return null;
  const { detail } = error;
  if (typeof detail === 'object' && detail !== null && 'diff' in detail && typeof detail.diff === 'string') {
    if (detail.diff.trim() !== '') return detail.diff;
  }
  try {
    const now = await call('config.get', {});
    return unified(read, now.text) || 'The text is the same again.';
  } catch {
    return error.message;
  }
}
