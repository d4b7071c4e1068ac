/** Which kernels are hosts, with or without a document, and the lines to them. */

import type { Kernel, ServiceManager } from '@jupyterlab/services';
import { Signal } from '@lumino/signaling';

import { Hosts } from '../src/hosts';
import { Watch } from '../src/watch';
import { FakeKernel, frame, hello, status } from './fakes';

/** A Jupyter server with kernels and documents. */
class FakeServer {
  kernelModels: { id: string; name: string }[] = [];
  documents: { path: string; kernel: { id: string } }[] = [];
  readonly lines: FakeKernel[] = [];
  readonly kernels = {
    runningChanged: new Signal<object, unknown>(this),
    running: () => this.kernelModels,
    connectTo: ({
      model,
      handleComms,
    }: {
      model: { id: string; name: string };
      handleComms: boolean;
    }) => {
      // Two connections that handle comms would close each other's widgets.
      expect(handleComms).toBe(false);
      const line = new FakeKernel(model.id, model.name);
      this.lines.push(line);
      return line;
    },
  };
  readonly sessions = {
    runningChanged: new Signal<object, unknown>(this),
    running: () => this.documents,
  };
  readonly kernelspecs = {
    specsChanged: new Signal<object, unknown>(this),
    specs: {
      kernelspecs: {
        python3: { argv: ['python', '-m', 'ipykernel_launcher'] },
        mine: { argv: ['python', '-m', 'aegis_kernel'] },
      },
    },
  };

  run(id: string, name: string, path?: string): void {
    this.kernelModels = [...this.kernelModels, { id, name }];
    if (path !== undefined) this.documents = [...this.documents, { path, kernel: { id } }];
    this.kernels.runningChanged.emit(null);
  }

  stop(id: string): void {
    this.kernelModels = this.kernelModels.filter((kernel) => kernel.id !== id);
    this.kernels.runningChanged.emit(null);
  }
}

let server: FakeServer;
let hosts: Hosts;

async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}

function greet(line: FakeKernel): void {
  const opening = line.sent.filter(({ header }) => header.msg_type === 'comm_open').at(-1)!;
  const { comm_id } = opening.content;
  line.say('comm_msg', { comm_id, data: hello() });
  line.say('comm_msg', { comm_id, data: frame({ reset: true, status: status() }) });
}

const connection = (kernel: FakeKernel): Kernel.IKernelConnection =>
  kernel as unknown as Kernel.IKernelConnection;

beforeEach(() => {
  server = new FakeServer();
  hosts = new Hosts(server as unknown as ServiceManager.IManager);
});

afterEach(() => {
  hosts.dispose();
});

test('kernels of our kernelspec are hosts, by notebook, those without one last', () => {
  server.run('aaaaaaaa-1', 'mine');
  server.run('b', 'aegis', 'shop/orders.ipynb');
  server.run('c', 'python3', 'plain.ipynb');
  server.run('d', 'mine', 'a.ipynb');
  expect(hosts.all.map(({ id, label }) => [id, label])).toEqual([
    ['d', 'a.ipynb'],
    ['b', 'orders.ipynb'],
    ['aaaaaaaa-1', 'aaaaaaaa'],
  ]);
  expect(hosts.spec).toBe('mine');
  server.stop('b');
  expect(hosts.find('b')).toBeNull();
});

test('another kernel is asked when its code mentions us, and is a host when one answers', async () => {
  server.run('c', 'python3', 'plain.ipynb');
  const kernel = new FakeKernel('c', 'python3');
  hosts.consider(connection(kernel), () => false);
  await settle();
  kernel.say('execute_input', { code: 'import numpy' });
  kernel.say('status', { execution_state: 'idle' });
  expect(kernel.sent).toEqual([]);
  kernel.say('execute_input', { code: '%load_ext aegis_kernel' });
  kernel.say('status', { execution_state: 'idle' });
  expect(hosts.all).toEqual([]);
  greet(kernel);
  expect(hosts.all.map(({ id }) => id)).toEqual(['c']);
  expect(kernel.futures).toBe(0);
});

test('sessions with a host share a line, and the last one closes it', async () => {
  server.run('b', 'aegis', 'orders.ipynb');
  const [one, two] = [hosts.open('b'), hosts.open('b')];
  await settle();
  expect(server.lines).toHaveLength(1);
  one.dispose();
  expect(server.lines[0]!.isDisposed).toBe(false);
  two.dispose();
  expect(server.lines[0]!.isDisposed).toBe(true);
});

test('a session of a kernel that is not running says so', async () => {
  const session = hosts.open('gone');
  await settle();
  expect(session.state).toMatchObject({ link: 'connecting', note: 'The kernel is not running.' });
});

test('what is looked at is the host at hand, then any that is left, then none', async () => {
  const watch = new Watch(hosts);
  expect(watch.host).toBeNull();
  server.run('a', 'aegis', 'a.ipynb');
  expect(watch.host?.id).toBe('a');
  await settle();
  greet(server.lines[0]!);
  expect(watch.state.link).toBe('live');
  watch.near('b'); // a notebook whose kernel is about to start
  expect(watch.host?.id).toBe('a');
  server.run('b', 'aegis', 'b.ipynb');
  expect(watch.host?.id).toBe('b');
  expect(server.lines[0]!.isDisposed).toBe(true);
  server.stop('b');
  expect(watch.host?.id).toBe('a');
  server.stop('a');
  expect([watch.host, watch.state.status]).toEqual([null, null]);
});
