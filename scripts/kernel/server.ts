/**
 * tslab's server, made to follow Jupyter's protocol exactly:
 * https://jupyter-client.readthedocs.io/en/stable/messaging.html
 */
import { readFileSync } from 'node:fs';
import { setImmediate as nextTurn, setTimeout as wait } from 'node:timers/promises';
import { inspect } from 'node:util';

import * as jupyter from 'tslab/dist/jupyter';
import ts from 'typescript5';
import * as zmq from 'zeromq';

import type { CellRunner } from './compiler';
import type { Failure } from './failure';
import { freeForgotten } from './memory';
import { CellOutput } from './output';
import { answer, received, type Content, type Request } from './wire';

/** A type rather than an interface, so that it is assignable to Content. */
type ExecuteRequest = {
  readonly code: string;
  readonly silent?: boolean;
  readonly store_history?: boolean;
  readonly stop_on_error?: boolean;
};

/** How long a failed cell's reply waits for the requests that were sent before it, which are then aborted. */
const ARRIVAL_MILLISECONDS = 50;

/** The kernel ends this long after its sockets are closed, even if cells have left timers or callbacks running. */
const LAST_MILLISECONDS = 200;

/** TypeScript's number for that message. */
const UNTERMINATED_TEMPLATE = 1160;

export class Server extends jupyter.ZmqServer {
  readonly #runner: CellRunner;
  readonly #tslab: jupyter.JupyterHandlerImpl;
  readonly #version: string;
  #count = 0;
  #queue: Promise<void> = Promise.resolve();
  /** The cells that were sent, and how many of them must not run because one before them failed. */
  #arrived = 0;
  #aborted = 0;
  #closed = false;
  /** The request of the cell that is running, or ran last. */
  #current: Request | undefined;
  /**
   * An error in a promise or a callback that nothing handles: it fails the running cell or, if there is none, the next.
   */
  #unhandled: Failure | undefined;

  constructor(runner: CellRunner, configPath: string, version: string) {
    const handler = new jupyter.JupyterHandlerImpl(runner.executor, false);
    super(handler, configPath);
    [this.#runner, this.#tslab, this.#version] = [runner, handler, version];
  }

  /** An error that nothing caught. */
  failed(thrown: unknown): void {
    this.#unhandled = this.#runner.failure(thrown);
    if (this.#current) this.#publish(this.#current, 'error', { ...this.#unhandled });
    else console.error(thrown);
  }

  /**
   * tslab reads its sockets while they are being bound, and a message that arrives at that moment ends the reading. It
   * also sends without a time limit, as ZeroMQ's binding does by default; then only about 500 messages are accepted
   * until the event loop turns: when a cell prints 20,000 lines, 499 are shown.
   *
   * @throws Error if a port is taken.
   */
  override async init(): Promise<void> {
    this.connInfo = JSON.parse(readFileSync(this.configPath, 'utf8')) as jupyter.ZmqServer['connInfo'];
    const { transport, ip, iopub_port, shell_port, control_port, stdin_port, hb_port } = this.connInfo;
    const atOnce = { sendTimeout: 0, sendHighWaterMark: 0 }; // for any number of messages
    this.iopub = new zmq.Publisher(atOnce);
    [this.shell, this.control, this.stdin] = [new zmq.Router(atOnce), new zmq.Router(atOnce), new zmq.Router(atOnce)];
    this.hb = new zmq.Reply();
    const ports = [
      [this.iopub, iopub_port],
      [this.shell, shell_port],
      [this.control, control_port],
      [this.stdin, stdin_port],
      [this.hb, hb_port],
    ] as const;
    await Promise.all(ports.map(([socket, port]) => socket.bind(`${transport}://${ip}:${port}`)));
    for (const socket of [this.shell, this.control])
      void each(socket, (frames) => void this.handleShellMessage(socket, ...frames));
    void each(this.hb, (frames) => this.hb.send(frames));
  }

  override async handleShellMessage(socket: zmq.Router, ...frames: Buffer[]): Promise<void> {
    let request: Request;
    try {
      request = received(this.connInfo.key, frames);
    } catch (error) {
      console.error((error as Error).message);
      return;
    }
    if (request.header.msg_type !== 'execute_request')
      return this.#answered(socket, request, () => this.#contentFor(request));
    const number = (this.#arrived += 1);
    // Cells run one after another; other requests are answered even while a cell runs, if the cell leaves time for
    // them.
    this.#queue = this.#queue
      .then(() => this.#answered(socket, request, () => this.#execute(request as Request<ExecuteRequest>, number)))
      .then(freeForgotten);
    return this.#queue;
  }

  async #answered(
    socket: zmq.Router,
    request: Request,
    contentOf: () => Content | undefined | Promise<Content>,
  ): Promise<void> {
    const type = request.header.msg_type;
    this.#publish(request, 'status', { execution_state: 'busy' });
    let content: Content | undefined;
    try {
      content = await contentOf();
    } catch (error) {
      content = { status: 'error', ...this.#runner.failure(error) };
    }
    if (content)
      await this.#send(socket, answer(this.connInfo.key, request, type.replace(/_request$/, '_reply'), content));
    this.#publish(request, 'status', { execution_state: 'idle' });
    if (type === 'shutdown_request') this.#end();
  }

  #contentFor(request: Request): Content | undefined {
    switch (request.header.msg_type) {
      case 'kernel_info_request':
        return this.#kernelInfo();
      case 'is_complete_request':
        return this.#isComplete((request.content as { code: string }).code);
      case 'inspect_request':
        return this.#inspect(request.content as { code: string; cursor_pos: number });
      case 'complete_request':
        return this.#complete(request.content as { code: string; cursor_pos: number });
      case 'comm_info_request':
        return { status: 'ok', comms: {} };
      case 'history_request':
        return { status: 'ok', history: [] };
      case 'shutdown_request':
        return { status: 'ok', restart: request.content['restart'] };
      default:
        return undefined; // comm_open and similar messages expect no reply
    }
  }

  async #execute(request: Request<ExecuteRequest>, number: number): Promise<Content> {
    const { code, silent = false, store_history = true, stop_on_error = true } = request.content;
    if (number <= this.#aborted) return { status: 'aborted' };
    if (store_history && !silent) this.#count += 1;
    const publish = silent
      ? () => undefined
      : (type: string, content: Content) => this.#publish(request, type, content);
    publish('execute_input', { code, execution_count: this.#count });
    const failure = await this.#run(request, publish);
    if (!failure) return { status: 'ok', execution_count: this.#count, payload: [], user_expressions: {} };
    if (stop_on_error) {
      await wait(ARRIVAL_MILLISECONDS);
      this.#aborted = this.#arrived;
    }
    return { status: 'error', execution_count: this.#count, ...failure };
  }

  async #run(
    request: Request<ExecuteRequest>,
    publish: (type: string, content: Content) => void,
  ): Promise<Failure | undefined> {
    if (this.#unhandled) {
      const [earlier] = [this.#unhandled, (this.#unhandled = undefined)];
      const failure = {
        ...earlier,
        traceback: ['Not run, because an earlier cell left behind what nothing handled:', ...earlier.traceback],
      };
      publish('error', failure);
      return failure;
    }
    this.#current = request;
    const output = new CellOutput((name, text) => publish('stream', { name, text }));
    for (const name of ['stdout', 'stderr'] as const) process[name].write = output.writeTo(name);
    (jupyter as { lastWriteDisplayData: unknown }).lastWriteDisplayData = (data: object, update: boolean) =>
      publish(update ? 'update_display_data' : 'display_data', data as Content);
    try {
      const show = (value: {}) =>
        publish('execute_result', {
          execution_count: this.#count,
          data: { 'text/plain': inspect(value) },
          metadata: {},
        });
      const failure = await this.#runner.run({ count: this.#count, written: request.content.code }, show);
      output.end();
      if (failure) publish('error', { ...failure });
      await nextTurn(); // in this turn, a rejected promise that nothing handles is reported
      return failure ?? this.#unhandled;
    } finally {
      this.#unhandled = undefined;
    }
  }

  #kernelInfo(): Content {
    const info = this.#tslab.handleKernel();
    return {
      status: 'ok',
      ...info,
      implementation_version: this.#version,
      language_info: { ...info.language_info, version: ts.version },
    };
  }

  /** tslab only distinguishes "complete" and, if a bracket is missing at the end, "incomplete". */
  #isComplete(code: string): Content {
    const reply = this.#tslab.handleIsComplete({ code });
    const { parseDiagnostics } = ts.createSourceFile(
      'cell.ts',
      `export {};\n${code}`,
      ts.ScriptTarget.ES2022,
    ) as ts.SourceFile & { parseDiagnostics: ts.Diagnostic[] };
    if (reply.status !== 'complete' || parseDiagnostics.length === 0) return { ...reply };
    const open = parseDiagnostics.some((diagnostic) => diagnostic.code === UNTERMINATED_TEMPLATE);
    return open ? { status: 'incomplete', indent: '' } : { status: 'invalid' };
  }

  #inspect({ code, cursor_pos }: { code: string; cursor_pos: number }): Content {
    return { ...this.#tslab.handleInspect({ code, cursor_pos: unitsBefore(code, cursor_pos), detail_level: 0 }) };
  }

  #complete({ code, cursor_pos }: { code: string; cursor_pos: number }): Content {
    const found = this.#tslab.handleComplete({ code, cursor_pos: unitsBefore(code, cursor_pos) });
    return {
      ...found,
      cursor_start: pointsBefore(code, found.cursor_start),
      cursor_end: pointsBefore(code, found.cursor_end),
    };
  }

  #publish(request: Request, type: string, content: Content): void {
    void this.#send(this.iopub, answer(this.connInfo.key, request, type, content));
  }

  /** When the kernel ends, cells may still print and requests may be pending: nobody listens any more. */
  async #send(socket: zmq.Router | zmq.Publisher, frames: (Buffer | string)[]): Promise<void> {
    try {
      await socket.send(frames);
    } catch (error) {
      if (!this.#closed) throw error;
    }
  }

  #end(): void {
    this.#closed = true;
    this.close();
    // Ends the process, whatever a cell has left running; messages already sent are on their way by then.
    setTimeout(() => process.exit(), LAST_MILLISECONDS);
  }
}

async function each(
  socket: AsyncIterable<Buffer[]>,
  handle: (frames: Buffer[]) => void | Promise<void>,
): Promise<void> {
  for await (const frames of socket) await handle(frames);
}

/** Jupyter counts code points, TypeScript UTF-16 units. */
const unitsBefore = (code: string, points: number): number => [...code].slice(0, points).join('').length;
const pointsBefore = (code: string, units: number): number => Array.from(code.slice(0, units)).length;
