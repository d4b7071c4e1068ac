/** Which host is looked at, and the one session with it that panel, status bar and commands share. */

import { type ISignal, Signal } from '@lumino/signaling';

import type { Host, Hosts } from './hosts';
import type { Session } from './session';
import { EMPTY, type State } from './state';

/** What changed: which host, which there are, what is known of it, or that it has a note. */
export type Change = 'host' | 'hosts' | 'state' | 'note';

export class Watch {
  /** What the session noted for a person, the newest only. */
  note = '';
  private _host: Host | null = null;
  private _session: Session | null = null;
  /** The kernel of the notebook that was worked in last. */
  private _near: string | null = null;
  private _known: readonly string[] = [];
  private readonly _hostChanged = new Signal<this, void>(this);
  private readonly _changed = new Signal<this, Change>(this);

  constructor(readonly hosts: Hosts) {
    hosts.changed.connect(this._settle, this);
    this._settle();
  }

  get host(): Host | null {
    return this._host;
  }

  get session(): Session | null {
    return this._session;
  }

  get state(): State {
    return this._session?.state ?? EMPTY;
  }

  get changed(): ISignal<this, Change> {
    return this._changed;
  }

  /** Another host is looked at, or none. */
  get hostChanged(): ISignal<this, void> {
    return this._hostChanged;
  }

  /** Look at this host. */
  choose(id: string | null): void {
    const host = this.hosts.find(id);
    if (host?.id === this._host?.id) {
      this._host = host;
      return;
    }
    this._session?.dispose();
    this._host = host;
    this._session =
      host === null
        ? null
        : this.hosts.open(host.id, {
            note: (text) => {
              this.note = text;
              this._changed.emit('note');
            },
          });
    this._session?.listen(() => {
      this._changed.emit('state');
    });
    this._changed.emit('host');
    this._hostChanged.emit();
  }

  /** The person works with this kernel now: look at its host, now or when it has one. */
  near(id: string | null): void {
    this._near = id;
    if (this.hosts.find(id) !== null) this.choose(id);
  }

  private _settle(): void {
    const { all } = this.hosts;
    const known = new Set(this._known);
    this._known = all.map((host) => host.id);
    const still = this.hosts.find(this._host?.id ?? null);
    const fresh = this._near !== null && !known.has(this._near) && this.hosts.find(this._near);
    if (fresh) this.choose(fresh.id);
    else if (still) this._host = still;
    else this.choose(this.hosts.find(this._near)?.id ?? all[0]?.id ?? null);
    this._changed.emit('hosts');
  }
}
