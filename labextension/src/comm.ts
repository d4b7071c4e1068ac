/** Carries a session over a comm of a kernel, past whatever the kernel is busy with. */

import { type Kernel, KernelMessage } from '@jupyterlab/services';
import { type JSONObject, UUID } from '@lumino/coreutils';

import type { FromView } from './protocol';
import type { Carrier } from './session';

export const TARGET = 'aegis.session';

/**
 * A comm made of its messages.
 *
 * Not `createComm`: a connection that handles comms answers for every comm of its kernel, so two of
 * them would close each other's widgets. This one minds its own comm only, on any connection.
 */
export class CommCarrier implements Carrier {
  onMessage: (message: unknown) => void = () => undefined;
  onClose: (why: string) => void = () => undefined;
  private readonly _id = UUID.uuid4();
  private _process = '';
  private _open = false;
  private _closed = false;

  constructor(private readonly kernel: Kernel.IKernelConnection) {
    kernel.anyMessage.connect(this._heard, this);
    kernel.connectionStatusChanged.connect(this._moved, this);
    kernel.disposed.connect(this._gone, this);
  }

  send(message: FromView): void {
    const data = message as unknown as JSONObject;
    if (this._open) {
      this._say('comm_msg', { comm_id: this._id, data });
    } else {
      this._open = true;
      // The first message travels with the opening: one way less to wait for.
      this._say('comm_open', { comm_id: this._id, target_name: TARGET, data });
    }
  }

  close(): void {
    if (this._closed) return;
    if (this._open && this.kernel.connectionStatus === 'connected') {
      this._say('comm_close', { comm_id: this._id, data: {} });
    }
    this._release();
  }

  private _say(msgType: 'comm_open' | 'comm_msg' | 'comm_close', content: JSONObject): void {
    if (this._closed) throw new Error('The connection is closed.');
    const message = KernelMessage.createMessage({
      msgType: msgType as 'comm_msg',
      channel: 'shell',
      session: this.kernel.clientId,
      username: this.kernel.username,
      content: content as unknown as KernelMessage.ICommMsgMsg['content'],
    });
    // Nobody will say idle for it, so the future would be kept for ever.
    this.kernel.sendShellMessage(message, false, true).dispose();
  }

  private _heard(_: unknown, { msg, direction }: Kernel.IAnyMessageArgs): void {
    if (direction !== 'recv' || msg.channel !== 'iopub') return;
    const { session } = msg.header;
    if (this._process === '') this._process = session;
    else if (this._process !== session) {
      // Another process answers on the same line: the kernel was restarted, and knows no comm.
      this._end('The kernel was restarted.');
      return;
    }
    if (KernelMessage.isCommMsgMsg(msg)) {
      if (msg.content.comm_id === this._id) this.onMessage(msg.content.data);
    } else if (KernelMessage.isCommCloseMsg(msg)) {
      if (msg.content.comm_id === this._id) this._end(reason(msg.content.data));
    }
  }

  private _moved(_: unknown, status: Kernel.ConnectionStatus): void {
    if (status !== 'connected') this._end('The connection to the kernel was lost.');
  }

  private _gone(): void {
    this._end('The kernel is gone.');
  }

  private _end(why: string): void {
    if (this._closed) return;
    this._release();
    this.onClose(why);
  }

  private _release(): void {
    this._closed = true;
    this.kernel.anyMessage.disconnect(this._heard, this);
    this.kernel.connectionStatusChanged.disconnect(this._moved, this);
    this.kernel.disposed.disconnect(this._gone, this);
  }
}

function reason(data: JSONObject): string {
  const { reason: why } = data;
  return typeof why === 'string' ? why : 'There is no host in this kernel.';
}
