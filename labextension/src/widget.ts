/** The same views as an anywidget, for frontends that lack our extension. */

import '../style/views.css';

import type { FromView } from './protocol';
import { Output } from './output';
import { type Carrier, Session } from './session';
import { VERSION } from './version';
import type { Say } from './views/view';

const TARGET = 'aegis.session';

/** What we use of anywidget's model. */
interface Model {
  get(name: string): unknown;
  on(event: 'msg:custom', heard: (content: unknown) => void): void;
  off(event: 'msg:custom', heard: (content: unknown) => void): void;
  send(content: unknown): void;
  readonly widget_manager?: { readonly kernel?: Kernel | null };
}

/** What we use of JupyterLab's kernel connection. */
interface Kernel {
  readonly connectionStatus?: string;
  createComm(target: string): Comm;
}

interface Comm {
  open(data: unknown): { dispose(): void };
  send(data: unknown): { dispose(): void };
  close(): { dispose(): void };
  onMsg: (message: { readonly content: { readonly data: unknown } }) => void;
  onClose: () => void;
}

const say: Say = (text, ...values) =>
  text.replace(/%(\d)/g, (_, place) => String(values[Number(place) - 1] ?? ''));

/** Carries a session in the widget's own messages, as long as its kernel knows the widget. */
class ModelCarrier implements Carrier {
  onMessage: (message: unknown) => void = () => undefined;
  onClose: (why: string) => void = () => undefined;
  private readonly _heard = (content: unknown): void => {
    this.onMessage(content);
  };

  constructor(private readonly model: Model) {
    model.on('msg:custom', this._heard);
  }

  send(message: FromView): void {
    this.model.send(message);
  }

  close(): void {
    this.model.off('msg:custom', this._heard);
  }
}

/** Carries it over a comm of its own: the kernel was restarted, and no longer knows the widget. */
class CommCarrier implements Carrier {
  onMessage: (message: unknown) => void = () => undefined;
  onClose: (why: string) => void = () => undefined;
  private readonly _comm: Comm;
  private _open = false;

  constructor(kernel: Kernel) {
    this._comm = kernel.createComm(TARGET);
    this._comm.onMsg = ({ content }) => {
      this.onMessage(content.data);
    };
    this._comm.onClose = () => {
      this.onClose('The host closed the connection.');
    };
  }

  send(message: FromView): void {
    // Nobody says idle for these, so what waits for it has to go.
    (this._open ? this._comm.send(message) : this._comm.open(message)).dispose();
    this._open = true;
  }

  close(): void {
    try {
      if (this._open) this._comm.close().dispose();
    } catch {
      // The kernel is gone, and the comm with it.
    }
  }
}

function render({ model, el }: { model: Model; el: HTMLElement }): () => void {
  let dials = 0;
  const session = new Session({
    version: VERSION,
    rights: ['view'],
    topics: ['status', 'figures', 'events', 'flows'],
    pattern: patternOf(model.get('view')),
    dial: () => {
      const kernel = model.widget_manager?.kernel;
      // The widget's messages first; where nobody answers them, the kernel itself, in turn.
      return dials++ % 2 === 1 && kernel ? new CommCarrier(kernel) : new ModelCarrier(model);
    },
  });
  const svg = model.get('svg');
  const output = new Output(model.get('view'), typeof svg === 'string' ? svg : '', {
    ask: (verb) => session.ask(verb),
    say,
  });
  el.classList.add('aegis-Rendered');
  el.replaceChildren(output.node);
  const deaf = session.listen((state) => {
    output.update(state);
  });
  if (output.live) session.start();
  return () => {
    deaf();
    session.dispose();
    output.dispose();
  };
}

function patternOf(view: unknown): string {
  const found = typeof view === 'object' && view !== null && 'pattern' in view ? view.pattern : '*';
  return typeof found === 'string' ? found : '*';
}

export default { render };
