/** What the plugins of this package give each other. */

import { Token } from '@lumino/coreutils';

import type { Hosts } from './hosts';
import type { Watch } from './watch';

export const IHosts = new Token<Hosts>('aegis-lab:IHosts', 'The hosts of this Jupyter server.');
export const IWatch = new Token<Watch>('aegis-lab:IWatch', 'The host that is looked at.');
