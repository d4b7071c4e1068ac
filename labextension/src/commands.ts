/** The commands: all that a person, a menu or another program can have the panel do. */

import type { JupyterFrontEnd } from '@jupyterlab/application';
import { InputDialog } from '@jupyterlab/apputils';
import type { ReadonlyJSONObject, ReadonlyPartialJSONObject } from '@lumino/coreutils';

import { logoIcon } from './logo';
import { type Panel, SECTIONS, type SectionName } from './panel';
import { retryAll } from './sections/retry';
import type { Watch } from './watch';

export const OPEN = 'aegis:open';
export const GRAPH_TAB = 'aegis:open-graph';
export const NEW_NOTEBOOK = 'aegis:new-notebook';

export interface Surroundings {
  readonly app: JupyterFrontEnd;
  readonly panel: Panel;
  readonly watch: Watch;
  /** Opens the description of the API. */
  readonly describe: () => Promise<void>;
  /** Opens the graph in the main area, or shows the one that is there; null without that area. */
  readonly enlarge: (() => void) | null;
}

/** Adds the commands to the application; what comes back are their ids, for the palette. */
export function addCommands(surroundings: Surroundings): readonly string[] {
  const { app, panel, watch, describe, enlarge } = surroundings;
  const { commands, shell } = app;
  const { say, act, copy, confirm, tell } = panel.desk;
  const { hosts } = watch;
  const added: string[] = [];

  const add = (
    id: string,
    label: string,
    run: (args: ReadonlyPartialJSONObject) => unknown,
    more: {
      readonly caption?: string;
      readonly properties?: ReadonlyPartialJSONObject;
      readonly isEnabled?: () => boolean;
      readonly icon?: typeof logoIcon;
    } = {},
  ): void => {
    const { properties, ...rest } = more;
    commands.addCommand(id, {
      label,
      execute: run,
      describedBy: { args: { type: 'object', properties: properties ?? {} } as ReadonlyJSONObject },
      ...rest,
    });
    added.push(id);
  };
  const open = (name?: SectionName): void => {
    shell.activateById(panel.id);
    if (name) panel.open(name);
  };
  const serves = (): boolean => watch.session !== null;
  /** The component that is meant: the one named, the only one, or the one a person picks. */
  const component = async (
    args: ReadonlyPartialJSONObject,
    title: string,
  ): Promise<string | null> => {
    const { component: named } = args;
    if (typeof named === 'string') return named;
    const names = (watch.state.status?.components ?? []).map(({ name }) => name);
    if (names.length === 0) tell(say('Nothing is deployed.'), false);
    if (names.length === 0) return null;
    return (await InputDialog.getItem({ title, items: names })).value;
  };
  const COMPONENT = { component: { type: 'string', description: say('The name of a component') } };

  add(
    OPEN,
    say('Open the Aegis panel'),
    ({ section }) => {
      open(SECTIONS.find((name) => name === section));
    },
    {
      caption: say('Watch and steer what is deployed'),
      icon: logoIcon,
      properties: {
        section: { type: 'string', enum: [...SECTIONS], description: say('Which section to show') },
      },
    },
  );
  add('aegis:show-graph', say('Show the graph of components'), () => {
    open('graph');
  });
  if (enlarge !== null) {
    const graph = (): void => {
      enlarge();
    };
    add(GRAPH_TAB, say('Open the graph in a tab'), graph, { icon: logoIcon });
  }
  add('aegis:show-failed', say('Show what failed'), () => {
    open('failed');
  });
  add(
    'aegis:retry-all',
    say('Retry all that failed'),
    async () => {
      const { failed } = watch.state;
      if (failed.length === 0) tell(say('Nothing has failed.'), true);
      else await retryAll(panel.desk);
    },
    { isEnabled: serves },
  );
  add(
    'aegis:rollback',
    say('Roll back a component…'),
    async (args) => {
      const name = await component(args, say('Roll back which component?'));
      if (name !== null) await act({ verb: 'rollback', component: name });
    },
    { isEnabled: serves, properties: COMPONENT },
  );
  add(
    'aegis:undeploy',
    say('Undeploy a component…'),
    async (args) => {
      const name = await component(args, say('Undeploy which component?'));
      if (name === null) return;
      const sure = await confirm({
        title: say('Undeploy %1?', name),
        body: say('Its API answers no more, and its flows wait. Its records stay.'),
        accept: say('Undeploy'),
        danger: true,
      });
      if (sure) await act({ verb: 'undeploy', component: name });
    },
    { isEnabled: serves, properties: COMPONENT },
  );
  add(
    'aegis:resume',
    say('Load the code that open flows wait for'),
    () => act({ verb: 'resume' }),
    { isEnabled: serves },
  );
  add(
    'aegis:copy-address',
    say('Copy the address of the API'),
    () => {
      const address = watch.state.status?.address;
      if (address) copy(address);
    },
    { isEnabled: serves },
  );
  add('aegis:open-api', say('Open the OpenAPI description'), describe, { isEnabled: serves });
  add(
    'aegis:choose-host',
    say('Look at another host…'),
    async (args) => {
      const all = hosts.all;
      const { host: named } = args;
      let found = all.find(({ id, path }) => id === named || (path !== '' && path === named));
      if (!found && named === undefined && all.length > 0) {
        const title = say('Look at which host?');
        const items = all.map(({ path, label }) => path || label);
        const { value } = await InputDialog.getItem({ title, items });
        found = all[items.indexOf(value ?? '')];
      }
      if (found) watch.choose(found.id);
      open();
    },
    {
      properties: {
        host: {
          type: 'string',
          description: say('The id of its kernel or the path of its notebook'),
        },
      },
    },
  );
  add(
    NEW_NOTEBOOK,
    say('New Aegis notebook'),
    () => commands.execute('notebook:create-new', { kernelName: hosts.spec, activate: true }),
    {
      icon: logoIcon,
      isEnabled: () => hosts.spec !== null && commands.hasCommand('notebook:create-new'),
    },
  );
  return added;
}
