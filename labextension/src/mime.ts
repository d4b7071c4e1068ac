/** Draws the views that cells show, live where the notebook's kernel has a host. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { INotebookTracker } from '@jupyterlab/notebook';
import { type IRenderMime, IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import type { Message } from '@lumino/messaging';
import { Widget } from '@lumino/widgets';

import type { Hosts } from './hosts';
import { MIME, Output } from './output';
import { Lost, type Session } from './session';
import { IHosts } from './tokens';
import type { Say } from './views/view';

/** Before a widget's view (-10) and HTML: who has this extension sees this. */
const RANK = -20;

/** Finds the kernel of the document that an output is in; null while there is none. */
type Find = (node: HTMLElement) => string | null;

/** One session with each kernel, for all outputs that follow it with the same pattern. */
class Pool {
  private readonly _sessions = new Map<string, { readonly session: Session; users: number }>();

  constructor(readonly hosts: Hosts) {}

  take(kernel: string, pattern: string): Session {
    const key = `${kernel} ${pattern}`;
    let shared = this._sessions.get(key);
    if (shared === undefined || shared.session.isDisposed) {
      // Whoever opens somebody else's notebook must not steer by that: these sessions only read.
      const session = this.hosts.open(kernel, {
        rights: ['view'],
        topics: ['status', 'figures', 'events', 'flows'],
        pattern,
      });
      shared = { session, users: 0 };
      this._sessions.set(key, shared);
    }
    shared.users++;
    return shared.session;
  }

  leave(kernel: string, pattern: string): void {
    const key = `${kernel} ${pattern}`;
    const shared = this._sessions.get(key);
    if (shared === undefined || --shared.users > 0) return;
    this._sessions.delete(key);
    shared.session.dispose();
  }
}

/** One output. It follows its document's kernel while it is on the page. */
class Renderer extends Widget implements IRenderMime.IRenderer {
  private _output: Output | null = null;
  private _kernel: string | null = null;
  private _session: Session | null = null;
  private _pattern = '*';
  private _deaf: (() => void) | null = null;

  constructor(
    private readonly pool: Pool,
    private readonly find: Find,
    private readonly say: Say,
  ) {
    super();
    this.addClass('aegis-Rendered');
    pool.hosts.changed.connect(this._follow, this);
  }

  renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    this._leave();
    this._output?.dispose();
    const svg = model.data['image/svg+xml'];
    const text = Array.isArray(svg) ? svg.join('') : svg;
    const output = new Output(model.data[MIME], typeof text === 'string' ? text : '', {
      ask: (verb) =>
        this._session?.ask(verb) ?? Promise.reject(new Lost(this.say('There is no kernel.'))),
      say: this.say,
    });
    this._output = output;
    this._pattern = output.pattern;
    this.node.replaceChildren(output.node);
    if (this.isAttached) this._follow();
    return Promise.resolve();
  }

  override dispose(): void {
    if (this.isDisposed) return;
    this.pool.hosts.changed.disconnect(this._follow, this);
    this._leave();
    this._output?.dispose();
    super.dispose();
  }

  protected override onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    this._follow();
  }

  protected override onBeforeDetach(message: Message): void {
    this._leave();
    super.onBeforeDetach(message);
  }

  /** Be with the kernel that the document has now. */
  private _follow(): void {
    const output = this._output;
    if (output?.live !== true || !this.isAttached) return;
    const found = this.find(this.node);
    const kernel = found !== null && this.pool.hosts.find(found) !== null ? found : null;
    if (kernel === this._kernel) return;
    const before = this._kernel;
    this._leave();
    if (kernel === null) {
      if (before !== null)
        output.tell(this.say('The kernel is gone: this is what was last known.'));
      return;
    }
    output.tell('');
    this._kernel = kernel;
    const session = this.pool.take(kernel, this._pattern);
    this._session = session;
    this._deaf = session.listen((state) => {
      output.update(state);
    });
    output.update(session.state);
  }

  private _leave(): void {
    this._deaf?.();
    this._deaf = null;
    if (this._kernel !== null) this.pool.leave(this._kernel, this._pattern);
    this._kernel = null;
    this._session = null;
  }
}

/** The views of hosts in notebooks and consoles. */
export const outputs: JupyterFrontEndPlugin<void> = {
  id: 'aegis-lab:outputs',
  description: 'Draws graphs, ports, events and flows of Aegis hosts in the outputs of cells.',
  autoStart: true,
  requires: [IHosts, IRenderMimeRegistry],
  optional: [INotebookTracker, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    hosts: Hosts,
    rendermime: IRenderMimeRegistry,
    notebooks: INotebookTracker | null,
    translator: ITranslator | null,
  ) => {
    const bundle = (translator ?? nullTranslator).load('aegis_lab');
    const say: Say = (text, ...values) => bundle.__(text, ...values);
    const pool = new Pool(hosts);
    const factory: IRenderMime.IRendererFactory = {
      // It shows data as text, lets in drawings only, and asks for the right to look.
      safe: true,
      mimeTypes: [MIME],
      defaultRank: RANK,
      createRenderer: ({ resolver }) =>
        new Renderer(pool, (node) => around(node, notebooks) ?? along(resolver, app), say),
    };
    rendermime.addFactory(factory);
    // Notebooks that were there first have copies of the registry.
    notebooks?.forEach(({ content }) => {
      content.rendermime.addFactory(factory);
    });
  },
};

/** The kernel of the notebook that a node is in. */
function around(node: HTMLElement, notebooks: INotebookTracker | null): string | null {
  const panel = notebooks?.find((notebook) => notebook.node.contains(node));
  return panel?.sessionContext.session?.kernel?.id ?? null;
}

/** The kernel of the document that links are resolved against: for an output shown elsewhere. */
function along(resolver: IRenderMime.IResolver | null, app: JupyterFrontEnd): string | null {
  if (resolver === null || !('path' in resolver) || typeof resolver.path !== 'string') return null;
  // Of a document on another drive (`RTC:orders.ipynb`) the session knows the path alone.
  const path = resolver.path.replace(/^[^/:]+:/, '');
  for (const session of app.serviceManager.sessions.running()) {
    if (session.path === path) return session.kernel?.id ?? null;
  }
  return null;
}
