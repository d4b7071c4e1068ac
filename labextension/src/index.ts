/** The plugins that put Aegis into JupyterLab and Jupyter Notebook. */

import {
  ILabShell,
  ILayoutRestorer,
  type JupyterFrontEnd,
  type JupyterFrontEndPlugin,
} from '@jupyterlab/application';
import {
  Clipboard,
  Dialog,
  ICommandPalette,
  MainAreaWidget,
  Notification,
  showDialog,
  WidgetTracker,
} from '@jupyterlab/apputils';
import { ILauncher } from '@jupyterlab/launcher';
import { INotebookTracker, type NotebookPanel } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { addCommands, GRAPH_TAB, NEW_NOTEBOOK, OPEN } from './commands';
import { Hosts, MENTION } from './hosts';
import { markIcon } from './logo';
import { outputs } from './mime';
import { Panel } from './panel';
import { GraphSection } from './sections/graph';
import { HistorySection } from './sections/history';
import { SectionTab, type Shown } from './section-tab';
import type { Question } from './sections/section';
import { problems } from './state';
import { StatusItem } from './statusbar';
import { IHosts, IWatch } from './tokens';
import type { Say, Target } from './views/view';
import { Watch } from './watch';

const PANEL = 'aegis-panel';
const GRAPH = 'aegis-graph';
const HISTORY = 'aegis-history';

/** The strings of this package in the person's language. */
export function speaker(translator: ITranslator | null): Say {
  const bundle = (translator ?? nullTranslator).load('aegis_lab');
  return (text, ...values) => bundle.__(text, ...values);
}

/** Whether a cell of the notebook has to do with us. */
function mentions(notebook: NotebookPanel): boolean {
  const cells = notebook.content.model?.sharedModel.cells ?? [];
  return cells.some((cell) => cell.getSource().includes(MENTION));
}

const hosts: JupyterFrontEndPlugin<Hosts> = {
  id: 'aegis-lab:hosts',
  description: 'Knows the Aegis hosts that run on this Jupyter server.',
  autoStart: true,
  provides: IHosts,
  optional: [INotebookTracker],
  activate: (app: JupyterFrontEnd, notebooks: INotebookTracker | null) => {
    const found = new Hosts(app.serviceManager);
    notebooks?.widgetAdded.connect((_, notebook) => {
      const consider = (): void => {
        const kernel = notebook.sessionContext.session?.kernel;
        if (kernel) found.consider(kernel, () => mentions(notebook));
      };
      notebook.sessionContext.kernelChanged.connect(consider);
      void notebook.context.ready.then(consider);
    });
    return found;
  },
};

const watch: JupyterFrontEndPlugin<Watch> = {
  id: 'aegis-lab:watch',
  description: 'Keeps a session with the host that is looked at.',
  autoStart: true,
  requires: [IHosts],
  provides: IWatch,
  activate: (_: JupyterFrontEnd, known: Hosts) => new Watch(known),
};

const panel: JupyterFrontEndPlugin<void> = {
  id: 'aegis-lab:panel',
  description: 'Watches and steers the components of Aegis kernels.',
  autoStart: true,
  requires: [IWatch],
  optional: [
    ILabShell,
    INotebookTracker,
    ISettingRegistry,
    ITranslator,
    ICommandPalette,
    ILayoutRestorer,
    ILauncher,
    IStatusBar,
  ],
  activate: (
    app: JupyterFrontEnd,
    looked: Watch,
    labShell: ILabShell | null,
    notebooks: INotebookTracker | null,
    registry: ISettingRegistry | null,
    translator: ITranslator | null,
    palette: ICommandPalette | null,
    restorer: ILayoutRestorer | null,
    launcher: ILauncher | null,
    statusBar: IStatusBar | null,
  ) => {
    const say = speaker(translator);
    const { commands, shell } = app;
    const settings = { side: 'right', followNotebook: true, confirm: true, refresh: 10 };

    const confirm = async ({ title, body, accept, danger }: Question): Promise<boolean> => {
      if (!settings.confirm) return true;
      const yes = danger
        ? Dialog.warnButton({ label: accept })
        : Dialog.okButton({ label: accept });
      const buttons = [Dialog.cancelButton({ label: say('Cancel') }), yes];
      return (await showDialog({ title, body, buttons })).button.accept;
    };
    // Told by the host itself: its address is of no use to a browser on another machine.
    const describe = async (): Promise<void> => {
      try {
        const { document: api } = await widget.desk.ask({ verb: 'description' });
        const text = JSON.stringify(api, null, 2);
        const address = URL.createObjectURL(new Blob([text], { type: 'application/json' }));
        window.open(address, '_blank');
        setTimeout(() => {
          URL.revokeObjectURL(address);
        }, 60_000);
      } catch (error) {
        widget.tell(error instanceof Error ? error.message : String(error), false);
      }
    };
    // Notebook 7 has room for its one document only.
    const tabs = new WidgetTracker<MainAreaWidget<SectionTab>>({ namespace: GRAPH });
    const shown: Readonly<Record<string, Shown>> = {
      [GRAPH]: {
        section: GraphSection,
        title: say('Graph'),
        of: (host) => say('Graph of %1', host),
        label: say('Graph of what is deployed'),
      },
      [HISTORY]: {
        section: HistorySection,
        title: say('History'),
        of: (host) => say('History of %1', host),
        label: say('The past of an event or a flow'),
      },
    };
    const opened = new Map<string, MainAreaWidget<SectionTab>>();
    const enlarge = (target?: Target): void => {
      const id = target === undefined ? GRAPH : HISTORY;
      let tab = opened.get(id);
      const what = shown[id];
      if (tab === undefined && what !== undefined) {
        const show = (there: Target): void => {
          if (there.kind === 'why' || there.kind === 'replay') {
            enlarge(there);
            return;
          }
          shell.activateById(PANEL);
          widget.reveal(there);
        };
        tab = new MainAreaWidget({
          content: new SectionTab(looked, { ...widget.desk, show }, what),
        });
        tab.id = id;
        tab.title.icon = markIcon;
        opened.set(id, tab);
        tab.disposed.connect(() => opened.delete(id));
        // After a reload of the page nobody asks for the same past again.
        if (id === GRAPH) void tabs.add(tab);
        shell.add(tab, 'main', { type: 'Aegis' });
      }
      shell.activateById(id);
      if (target !== undefined) tab?.content.reveal(target);
    };
    const widget = new Panel({
      watch: looked,
      say,
      confirm,
      notify: (text, good) => {
        if (good) Notification.success(text, { autoClose: 4000 });
        else Notification.error(text, { autoClose: 8000 });
      },
      copy: (text) => {
        Clipboard.copyToSystem(text);
      },
      begin: () =>
        commands.isEnabled(NEW_NOTEBOOK) ? (): void => void commands.execute(NEW_NOTEBOOK) : null,
      enlarge: labShell === null ? undefined : enlarge,
      describe,
      couldLoad: () => {
        const kernel = notebooks?.currentWidget?.sessionContext.session?.kernel;
        return kernel !== null && kernel !== undefined && looked.hosts.find(kernel.id) === null;
      },
    });
    widget.id = PANEL;
    widget.title.icon = markIcon;
    widget.title.caption = say('Aegis');
    shell.add(widget, settings.side, { rank: 600, type: 'Aegis' });
    restorer?.add(widget, PANEL);

    // A side bar shows at its tab how many things there are to look at.
    looked.changed.connect(() => {
      const count = problems(looked.state);
      const { dataset } = widget.title;
      const text = count === 0 ? '' : String(Math.min(count, 99));
      if ((dataset['aegis-count'] ?? '') === text) return;
      widget.title.dataset = { ...dataset, 'aegis-count': text };
      widget.title.caption = count === 0 ? say('Aegis') : say('Aegis: %1 problems', count);
    });

    const near = (): void => {
      if (!settings.followNotebook) return;
      const kernel = notebooks?.currentWidget?.sessionContext.session?.kernel;
      looked.near(kernel?.id ?? null);
      widget.desk.refresh();
    };
    notebooks?.currentChanged.connect(near);
    notebooks?.widgetAdded.connect((_, notebook: NotebookPanel) => {
      notebook.sessionContext.kernelChanged.connect(near);
    });

    void registry?.load('aegis-lab:panel').then((loaded) => {
      const read = (): void => {
        const { side } = settings;
        Object.assign(settings, loaded.composite);
        widget.pause = 1000 / settings.refresh;
        if (settings.side !== side) shell.add(widget, settings.side, { rank: 600, type: 'Aegis' });
        near();
      };
      loaded.changed.connect(read);
      read();
    });

    const added = addCommands({
      app,
      panel: widget,
      watch: looked,
      describe,
      enlarge: labShell === null ? null : enlarge,
    });
    if (labShell !== null) void restorer?.restore(tabs, { command: GRAPH_TAB, name: () => GRAPH });
    for (const command of added) palette?.addItem({ command, category: say('Aegis') });
    launcher?.add({ command: OPEN, category: say('Other'), rank: 50 });
    statusBar?.registerStatusItem('aegis-lab:status', {
      item: new StatusItem(looked, say, () => void commands.execute(OPEN)),
      align: 'right',
      rank: 100,
      isActive: () => looked.host !== null,
      activeStateChanged: looked.hostChanged,
    });
  },
};

export default [hosts, watch, panel, outputs];
