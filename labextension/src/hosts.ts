/** The hosts that run on this Jupyter server, and the sessions with them. */

import type { Kernel, ServiceManager, Session as Document } from '@jupyterlab/services';
import { type ISignal, Signal } from '@lumino/signaling';

import { CommCarrier } from './comm';
import { PROTOCOL } from './protocol';
import { Session, type SessionOptions } from './session';
import { VERSION } from './version';

/** A running kernel with a host. */
export interface Host {
  /** The kernel's. */
  readonly id: string;
  /** What a person calls it: the notebook's file name, when it has one. */
  readonly label: string;
  readonly path: string;
}

/** One connection to a kernel, for all sessions over it. */
interface Line {
  readonly kernel: Kernel.IKernelConnection;
  readonly sessions: Set<Session>;
}

const CONNECT = 10000;
/** What code that brings a host into a kernel has in it. */
export const MENTION = 'aegis';

/**
 * Knows which kernels are ours, with or without a document.
 *
 * A kernel is ours when its kernelspec starts one, or when something in it answered to our comm (a
 * host that was loaded into another Python kernel).
 */
export class Hosts {
  private _hosts: readonly Host[] = [];
  private _disposed = false;
  private readonly _changed = new Signal<this, readonly Host[]>(this);
  private readonly _proven = new Set<string>();
  private readonly _considered = new Set<Kernel.IKernelConnection>();
  private readonly _lines = new Map<string, Line>();

  constructor(private readonly manager: ServiceManager.IManager) {
    manager.kernels.runningChanged.connect(this._refresh, this);
    manager.sessions.runningChanged.connect(this._refresh, this);
    manager.kernelspecs.specsChanged.connect(this._refresh, this);
    this._refresh();
  }

  /** By path, those without one last. */
  get all(): readonly Host[] {
    return this._hosts;
  }

  get changed(): ISignal<this, readonly Host[]> {
    return this._changed;
  }

  /** The name of the kernelspec that starts a kernel of ours, if this server has one. */
  get spec(): string | null {
    const names = Object.keys(this.manager.kernelspecs.specs?.kernelspecs ?? {});
    return names.find((name) => this._isOurs(name)) ?? null;
  }

  find(id: string | null): Host | null {
    return this._hosts.find((host) => host.id === id) ?? null;
  }

  /** A new session with the host of a kernel. It holds a connection until it is disposed. */
  open(id: string, options: Omit<SessionOptions, 'dial' | 'version'> = {}): Session {
    const session: Session = new Session({
      ...options,
      version: VERSION,
      dial: async (): Promise<CommCarrier> => new CommCarrier(await this._connected(id, session)),
      ended: () => {
        this._leave(id, session);
      },
    });
    session.start();
    return session;
  }

  /**
   * Look whether a kernel that is not known as ours has a host: when a cell mentions us as it runs,
   * and now if `mentioned`. A kernel without one complains of being asked, so it is not done idly.
   */
  consider(kernel: Kernel.IKernelConnection, mentioned: () => boolean): void {
    if (this._considered.has(kernel)) return;
    this._considered.add(kernel);
    let told = false;
    const heard = (_: unknown, { msg, direction }: Kernel.IAnyMessageArgs): void => {
      if (direction !== 'recv' || msg.channel !== 'iopub' || this._isKnown(kernel)) return;
      const { content } = msg;
      if (msg.header.msg_type === 'execute_input' && 'code' in content) {
        told ||= String(content.code).includes(MENTION);
      }
      if (told && 'execution_state' in content && content.execution_state === 'idle') {
        told = false;
        this._probe(kernel);
      }
    };
    kernel.anyMessage.connect(heard);
    kernel.disposed.connect(() => this._considered.delete(kernel));
    void kernel.info.then(({ implementation }) => {
      if (implementation === 'aegis') this._prove(kernel.id);
      else if (!this._isKnown(kernel) && mentioned()) this._probe(kernel);
    });
  }

  dispose(): void {
    this._disposed = true;
    for (const { sessions } of [...this._lines.values()]) {
      for (const session of [...sessions]) session.dispose();
    }
    Signal.clearData(this);
  }

  private _probe(kernel: Kernel.IKernelConnection): void {
    const carrier = new CommCarrier(kernel);
    carrier.onMessage = () => {
      // Whatever it said, it is a host.
      carrier.close();
      this._prove(kernel.id);
    };
    try {
      carrier.send({
        kind: 'open',
        protocol: PROTOCOL,
        version: VERSION,
        topics: [],
        rights: ['view'],
      });
    } catch {
      carrier.close(); // a dead kernel; the next one is considered anew
    }
  }

  private _prove(id: string): void {
    if (this._proven.has(id)) return;
    this._proven.add(id);
    this._refresh();
  }

  private _isKnown(kernel: { readonly id: string; readonly name: string }): boolean {
    return this._proven.has(kernel.id) || this._isOurs(kernel.name);
  }

  private _isOurs(name: string): boolean {
    const spec = this.manager.kernelspecs.specs?.kernelspecs[name];
    return name === 'aegis' || (spec?.argv.includes('aegis_kernel') ?? false);
  }

  private _refresh(): void {
    if (this._disposed) return;
    const documents = new Map<string, Document.IModel>();
    for (const document of this.manager.sessions.running()) {
      if (document.kernel) documents.set(document.kernel.id, document);
    }
    const hosts: Host[] = [];
    for (const kernel of this.manager.kernels.running()) {
      if (!this._isKnown(kernel)) continue;
      const path = documents.get(kernel.id)?.path ?? '';
      const label = path.slice(path.lastIndexOf('/') + 1) || kernel.id.slice(0, 8);
      hosts.push({ id: kernel.id, label, path });
    }
    hosts.sort((a, b) => Number(!a.path) - Number(!b.path) || a.path.localeCompare(b.path));
    if (JSON.stringify(hosts) === JSON.stringify(this._hosts)) return;
    this._hosts = hosts;
    for (const host of hosts) this._wake(host.id);
    this._changed.emit(hosts);
  }

  /** The line to a kernel, up and in use by `session`. */
  private async _connected(id: string, session: Session): Promise<Kernel.IKernelConnection> {
    let line = this._lines.get(id);
    if (!line || line.kernel.isDisposed) {
      const model = [...this.manager.kernels.running()].find((kernel) => kernel.id === id);
      if (model === undefined) throw new Error('The kernel is not running.');
      // A connection of our own works without a document; it leaves all comms but ours alone.
      const kernel = this.manager.kernels.connectTo({ model, handleComms: false });
      kernel.statusChanged.connect((_, status) => {
        if (status === 'idle') this._wake(id);
      });
      line = { kernel, sessions: line?.sessions ?? new Set() };
      this._lines.set(id, line);
    }
    line.sessions.add(session);
    await up(line.kernel);
    return line.kernel;
  }

  private _wake(id: string): void {
    for (const session of this._lines.get(id)?.sessions ?? []) session.wake();
  }

  private _leave(id: string, session: Session): void {
    const line = this._lines.get(id);
    if (!line?.sessions.delete(session) || line.sessions.size > 0) return;
    this._lines.delete(id);
    line.kernel.dispose();
  }
}

/** Resolves when the connection is up. */
function up(kernel: Kernel.IKernelConnection): Promise<void> {
  return new Promise((resolve, reject) => {
    const look = (): boolean => {
      if (kernel.isDisposed) end(new Error('The kernel is gone.'));
      else if (kernel.connectionStatus === 'connected') end(null);
      else return false;
      return true;
    };
    const end = (error: Error | null): void => {
      clearTimeout(timer);
      kernel.connectionStatusChanged.disconnect(look);
      kernel.disposed.disconnect(look);
      if (error) reject(error);
      else resolve();
    };
    const timer = setTimeout(() => {
      end(new Error('The kernel cannot be reached.'));
    }, CONNECT);
    if (!look()) {
      kernel.connectionStatusChanged.connect(look);
      kernel.disposed.connect(look);
    }
  });
}
