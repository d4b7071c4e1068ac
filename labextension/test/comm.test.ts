/** A carrier is one comm made of its messages, and minds no other. */

import type { Kernel } from '@jupyterlab/services';

import { CommCarrier, TARGET } from '../src/comm';
import { FakeKernel, frame } from './fakes';

let kernel: FakeKernel;
let carrier: CommCarrier;
let heard: unknown[];
let ended: string[];

beforeEach(() => {
  kernel = new FakeKernel();
  carrier = new CommCarrier(kernel as unknown as Kernel.IKernelConnection);
  heard = [];
  ended = [];
  carrier.onMessage = (message) => heard.push(message);
  carrier.onClose = (why) => ended.push(why);
});

const types = (): string[] => kernel.sent.map(({ header }) => header.msg_type);
const id = (): string => kernel.sent[0]!.content.comm_id;
const open = (): void => {
  carrier.send({ kind: 'open', protocol: 1, version: '0' });
};

test('the first message opens the comm, and no future is kept', () => {
  open();
  carrier.send({ kind: 'ack', cursor: 3 });
  expect(types()).toEqual(['comm_open', 'comm_msg']);
  expect(kernel.sent[0]!.content).toMatchObject({ target_name: TARGET, data: { kind: 'open' } });
  expect(kernel.sent[1]!.content).toMatchObject({ comm_id: id(), data: { cursor: 3 } });
  expect(kernel.futures).toBe(0);
});

test('it hears its own comm only', () => {
  open();
  kernel.say('comm_open', { comm_id: 'widget', target_name: 'jupyter.widget', data: {} });
  kernel.say('comm_msg', { comm_id: 'widget', data: frame() });
  kernel.say('comm_close', { comm_id: 'widget', data: {} });
  kernel.say('stream', { name: 'stdout', text: 'hello' });
  expect([heard, ended]).toEqual([[], []]);
  kernel.say('comm_msg', { comm_id: id(), data: frame() });
  expect(heard).toEqual([frame()]);
  expect(types()).toEqual(['comm_open']); // and answers for no other
});

test('the host can end it, and says why', () => {
  open();
  kernel.say('comm_close', { comm_id: id(), data: { reason: 'the host was closed' } });
  expect(ended).toEqual(['the host was closed']);
  expect(() => {
    carrier.send({ kind: 'ack', cursor: 1 });
  }).toThrow();
});

test('another process on the same line is a restart', () => {
  open();
  kernel.say('status', { execution_state: 'busy' });
  kernel.say('status', { execution_state: 'starting' }, 'process-2');
  kernel.say('comm_msg', { comm_id: id(), data: frame() }, 'process-2');
  expect(ended).toEqual(['The kernel was restarted.']);
  expect(heard).toEqual([]);
});

test.each([
  [
    'lost',
    () => {
      kernel.connectionStatusChanged.emit('connecting');
    },
  ],
  [
    'gone',
    () => {
      kernel.disposed.emit();
    },
  ],
])('a kernel that is %s ends it once', (why, happen) => {
  open();
  happen();
  happen();
  expect(ended).toEqual([expect.stringContaining(why)]);
});

test('closed from this side, it says so once and is quiet', () => {
  open();
  carrier.close();
  carrier.close();
  kernel.say('comm_msg', { comm_id: id(), data: frame() });
  expect(types()).toEqual(['comm_open', 'comm_close']);
  expect([heard, ended]).toEqual([[], []]);
});
