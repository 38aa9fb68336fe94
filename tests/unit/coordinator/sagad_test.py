#!/usr/bin/env python3
"""sagad as a whole: its program, a private redis-server, participants over HTTP, DTM's JSON.

usage: sagad_test.py SAGAD [unittest arguments]   ($REDIS_SERVER: the server to run; $SAGACTL)
"""
import base64
import collections
import http.client
import http.server
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.parse

from harness.ports import Port

SAGAD = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else ''
SAGACTL = os.environ.get('SAGACTL', os.path.join(os.path.dirname(SAGAD), '..', 'cli', 'sagactl'))
REDIS_SERVER = os.environ.get('REDIS_SERVER', 'redis-server')
DEADLINE = 30
# A sanitizer's finding must not pass for an exit code of sagad's own.
ENV = dict(os.environ, ASAN_OPTIONS='exitcode=99:detect_leaks=1', UBSAN_OPTIONS='halt_on_error=1')

Reply = collections.namedtuple('Reply', 'status body headers text')
Call = collections.namedtuple('Call', 'method path query body headers')


def wait_until(condition, what):
    """The value of condition() as soon as it is true."""
    end = time.monotonic() + DEADLINE
    pause = threading.Event()
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        pause.wait(0.01)
    raise AssertionError('not within %d s: %s' % (DEADLINE, what))


class Process:
    """A program whose standard error is read line by line."""

    def __init__(self, argv, env=None):
        self.lines = []
        self.popen = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, env=env or ENV)
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self):
        for line in self.popen.stdout:
            self.lines.append(line.decode('utf-8', 'replace').rstrip('\n'))

    def text(self):
        return '\n'.join(self.lines)

    def find(self, pattern):
        return next((m for m in (re.search(pattern, line) for line in list(self.lines)) if m), None)

    def signal(self, signo):
        self.popen.send_signal(signo)

    def end(self):
        code = self.popen.wait(DEADLINE)
        self.reader.join(DEADLINE)
        self.popen.stdout.close()
        return code

    def kill(self):
        if self.popen.poll() is None:
            self.popen.kill()
        if not self.popen.stdout.closed:
            self.end()


class Redis:
    def __init__(self, *args):
        self.dir = tempfile.mkdtemp(prefix='sagad-redis-')
        self.socket = os.path.join(self.dir, 's')
        self.args = args or ('--appendonly', 'yes')
        self.start()

    def start(self):
        self.process = Process([REDIS_SERVER, '--port', '0', '--unixsocket', self.socket, '--dir',
                                self.dir, '--save', '', '--stream-node-max-bytes', '256',
                                *self.args])
        wait_until(lambda: self.process.find('eady to accept connections') or
                   self.process.popen.poll() is not None, 'redis-server')

    def ask(self, *words):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(DEADLINE)
            s.connect(self.socket)
            s.sendall(b'*%d\r\n' % len(words) +
                      b''.join(b'$%d\r\n%s\r\n' % (len(w.encode()), w.encode()) for w in words))
            return self._value(s.makefile('rb'))

    def _value(self, file):
        line = file.readline().rstrip(b'\r\n')
        kind, rest = line[:1], line[1:]
        if kind == b'*':
            return [self._value(file) for _ in range(int(rest))]
        if kind == b'$':
            return file.read(int(rest) + 2)[:-2].decode('utf-8', 'replace') if rest != b'-1' else None
        return int(rest) if kind == b':' else rest.decode()

    def kill(self):
        self.process.kill()

    def close(self):
        self.kill()
        shutil.rmtree(self.dir)


class Participant:
    """Serves branches. What a path answers is chosen by the test: status, body, or an Event to
    wait for before 200."""

    def __init__(self):
        self.calls = []
        self.answers = {}
        participant = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'
            wbufsize = -1

            def serve(self):
                url = urllib.parse.urlsplit(self.path)
                query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
                body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
                participant.calls.append(Call(self.command, url.path, query, body, self.headers))
                answer = participant.answers.get(url.path, (200, b'{"dtm_result":"SUCCESS"}'))
                if isinstance(answer, threading.Event):
                    answer.wait(DEADLINE)
                    answer = (200, b'')
                self.send_response(answer[0])
                self.send_header('Content-Length', str(len(answer[1])))
                self.end_headers()
                self.wfile.write(answer[1])

            do_GET = do_POST = serve

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.server.daemon_threads = True
        self.url = 'http://127.0.0.1:%d' % self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def paths(self):
        return [call.path for call in self.calls]

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Sagad:
    def __init__(self, redis, *args, http_port=0, tcp_port=0):
        self.process = Process([SAGAD, '--redis', 'unix:' + redis.socket,
                                '--listen_http', '127.0.0.1:%d' % http_port,
                                '--listen_tcp', '127.0.0.1:%d' % tcp_port, *args])
        ready = wait_until(lambda: self.process.find(r'msg=ready .*http_port=(\d+)') or
                           self.process.popen.poll() is not None, 'sagad is ready')
        if ready is True:
            raise AssertionError('sagad ended: ' + self.process.text())
        self.port = int(ready.group(1))

    def ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=DEADLINE)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            text = response.read()
            kind = response.headers.get('Content-Type', '')
            parsed = json.loads(text) if kind.startswith('application/json') and text else None
            return Reply(response.status, parsed, response.headers, text)
        finally:
            connection.close()

    def post(self, name, **fields):
        return self.ask('POST', '/api/dtmsvr/' + name, json.dumps(fields).encode())

    def query(self, gid):
        return self.ask('GET', '/api/dtmsvr/query?gid=' + urllib.parse.quote(gid, safe='')).body

    def status(self, gid):
        found = self.query(gid)['transaction']
        return found and found['status']

    def new_gid(self):
        return self.ask('GET', '/api/dtmsvr/newGid').body['gid']

    def end(self, signo=signal.SIGTERM):
        self.process.signal(signo)
        return self.process.end()


class Case(unittest.TestCase):
    """One Redis, one sagad and one participant for the tests of a class."""
    redis_args = ()
    sagad_args = ()

    @classmethod
    def setUpClass(cls):
        cls.redis = Redis(*cls.redis_args)
        cls.addClassCleanup(cls.redis.close)
        cls.sagad = cls.start_sagad()
        cls.addClassCleanup(lambda: cls.sagad.process.kill())

    @classmethod
    def start_sagad(cls, *args, **ports):
        return Sagad(cls.redis, *cls.sagad_args, *args, **ports)

    @classmethod
    def tearDownClass(cls):
        code = cls.sagad.end()
        if code != 0:
            raise AssertionError('sagad ended with %d: %s' % (code, cls.sagad.process.text()))

    def setUp(self):
        self.participant = Participant()
        self.addCleanup(self.participant.close)
        self.url = self.participant.url
        self.gid = self.sagad.new_gid()

    def saga(self, *names, gid=None, **fields):
        """What DTM's Go SDK sends for a saga with one branch per name: /name and /name-undo."""
        steps = [{'action': self.url + '/' + name, 'compensate': self.url + '/' + name + '-undo'}
                 for name in names]
        return dict({'gid': gid or self.gid, 'trans_type': 'saga', 'concurrent': False,
                     'steps': steps, 'payloads': [json.dumps({'of': name}) for name in names],
                     'protocol': ''}, **fields)

    def await_status(self, gid, status):
        wait_until(lambda: self.sagad.status(gid) == status, '%s is %s' % (gid, status))


class SagaTest(Case):
    def test_success(self):
        reply = self.sagad.post('submit', **self.saga('out', 'in', wait_result=True))
        self.assertEqual((200, 'SUCCESS'), (reply.status, reply.body['dtm_result']))
        self.assertEqual(['/out', '/in'], self.participant.paths())
        first = self.participant.calls[0]
        self.assertEqual('POST', first.method)
        self.assertEqual(b'{"of": "out"}', first.body)
        self.assertEqual('application/json', first.headers['Content-Type'])
        self.assertEqual({'branch_id': '01', 'gid': self.gid, 'op': 'action', 'trans_type': 'saga'},
                         first.query)
        found = self.sagad.query(self.gid)
        self.assertEqual('succeed', found['transaction']['status'])
        self.assertEqual([('01', 'compensate', 'prepared'), ('01', 'action', 'succeed'),
                          ('02', 'compensate', 'prepared'), ('02', 'action', 'succeed')],
                         [(b['branch_id'], b['op'], b['status']) for b in found['branches']])
        self.assertEqual(b'{"of": "out"}', base64.b64decode(found['branches'][0]['bin_data']))
        self.assertEqual(['submitted', '01.action', '02.action', 'succeed'],
                         [line['op'] for line in found['history']])

    def test_failure_is_undone_in_reverse_and_tells_the_reason(self):
        self.participant.answers['/b'] = (409, b'stock is out')
        reply = self.sagad.post('submit', **self.saga('a', 'b', 'c', wait_result=True))
        self.assertEqual(409, reply.status)
        self.assertEqual({'dtm_result': 'FAILURE',
                          'message': 'url:%s/b return failed: stock is out FAILURE' % self.url},
                         reply.body)
        self.assertEqual(['/a', '/b', '/b-undo', '/a-undo'], self.participant.paths())
        self.assertEqual('failed', self.sagad.status(self.gid))

    def test_failure_by_the_body_alone(self):
        self.participant.answers['/b'] = (200, b'{"dtm_result":"FAILURE"}')
        reply = self.sagad.post('submit', **self.saga('a', 'b', wait_result=True))
        self.assertEqual(409, reply.status)
        self.assertTrue(reply.body['message'].endswith(' FAILURE'))

    def test_any_2xx_is_success(self):
        self.participant.answers['/a'] = (201, b'made')
        self.participant.answers['/b'] = (204, b'')
        reply = self.sagad.post('submit', **self.saga('a', 'b', wait_result=True))
        self.assertEqual(200, reply.status)

    def test_ongoing_answers_425_and_retry_now_really_tries(self):
        self.participant.answers['/a'] = (425, b'')
        reply = self.sagad.post('submit', **self.saga('a', wait_result=True, retry_interval=600))
        self.assertEqual((425, 'ONGOING'), (reply.status, reply.body['dtm_result']))
        self.assertEqual('submitted', self.sagad.status(self.gid))
        self.participant.answers['/a'] = (200, b'')
        reply = self.sagad.post('resetNextCronTime', gid=self.gid)
        self.assertEqual(200, reply.status)
        self.await_status(self.gid, 'succeed')
        self.assertEqual(409, self.sagad.post('resetNextCronTime', gid=self.gid).status)

    def test_error_answers_425_and_wait_timeout_waits_through_the_retry(self):
        self.participant.answers['/a'] = (500, b'broken')
        reply = self.sagad.post('submit', **self.saga('a', wait_result=True, retry_interval=600))
        self.assertEqual(425, reply.status)
        second = self.sagad.new_gid()
        threading.Timer(0.3, lambda: self.participant.answers.update({'/a': (200, b'')})).start()
        reply = self.sagad.post('submit', **self.saga('a', gid=second, wait_result=True,
                                                      wait_timeout=20, retry_interval=1))
        self.assertEqual(200, reply.status)
        self.assertEqual('succeed', self.sagad.status(second))

    def test_wait_timeout_ends_with_425(self):
        self.participant.answers['/a'] = (425, b'')
        started = time.monotonic()
        reply = self.sagad.post('submit', **self.saga('a', wait_result=True, wait_timeout=1,
                                                      retry_interval=600))
        self.assertEqual(425, reply.status)
        self.assertGreater(time.monotonic() - started, 0.9)

    def test_a_known_gid_is_never_run_again(self):
        body = self.saga('a', 'b', wait_result=True)
        self.assertEqual(200, self.sagad.post('submit', **body).status)
        self.assertEqual(200, self.sagad.post('submit', **body).status)
        self.assertEqual(200, self.sagad.post('submit', **dict(body, wait_result=False)).status)
        self.assertEqual(['/a', '/b'], self.participant.paths())

    def test_a_known_gid_that_failed_says_so(self):
        self.participant.answers['/a'] = (409, b'no')
        body = self.saga('a', wait_result=True)
        first = self.sagad.post('submit', **body)
        self.assertEqual(first.body, self.sagad.post('submit', **body).body)
        again = self.sagad.post('submit', **dict(body, wait_result=False))
        self.assertEqual((409, "current status 'failed', cannot submit. FAILURE"),
                         (again.status, again.body['message']))
        self.assertEqual(['/a', '/a-undo'], self.participant.paths())

    def test_abort_turns_a_running_saga_round(self):
        self.participant.answers['/b'] = (425, b'')
        self.sagad.post('submit', **self.saga('a', 'b', wait_result=True, retry_interval=600))
        reply = self.sagad.post('abort', gid=self.gid, trans_type='saga', rollback_reason='enough')
        self.assertEqual(200, reply.status)
        self.await_status(self.gid, 'failed')
        self.assertEqual(['/a', '/b', '/b-undo', '/a-undo'], self.participant.paths())
        self.assertIn('enough', self.sagad.query(self.gid)['transaction']['rollback_reason'])
        self.assertEqual(404, self.sagad.post('abort', gid='unknown').status)
        other = self.sagad.new_gid()
        self.sagad.post('submit', **self.saga('a', gid=other, wait_result=True))
        reply = self.sagad.post('abort', gid=other, trans_type='saga')
        self.assertEqual((409, "trans type: 'saga' current status 'succeed', cannot abort. FAILURE"),
                         (reply.status, reply.body['message']))

    def test_force_stop_calls_nobody(self):
        self.participant.answers['/a'] = (425, b'')
        self.sagad.post('submit', **self.saga('a', wait_result=True, retry_interval=600))
        self.assertEqual(200, self.sagad.post('forceStop', gid=self.gid).status)
        self.assertEqual('failed', self.sagad.status(self.gid))
        self.assertEqual(['/a'], self.participant.paths())
        self.assertEqual(409, self.sagad.post('forceStop', gid=self.gid).status)
        self.assertEqual(404, self.sagad.post('forceStop', gid='unknown').status)

    def test_branch_headers_and_trace(self):
        self.sagad.post('submit', **self.saga('a', 'b', wait_result=True,
                                              branch_headers={'X-Tenant': 't1'}))
        traces = [call.headers['traceparent'].split('-') for call in self.participant.calls]
        self.assertEqual(['t1', 't1'], [c.headers['X-Tenant'] for c in self.participant.calls])
        self.assertEqual(traces[0][1], traces[1][1])
        self.assertNotEqual(traces[0][2], traces[1][2])

    def test_empty_urls_succeed_without_a_call(self):
        reply = self.sagad.post('submit', gid=self.gid, trans_type='saga', wait_result=True,
                                steps=[{'action': '', 'compensate': ''}], payloads=['x'])
        self.assertEqual(200, reply.status)
        self.assertEqual([], self.participant.calls)

    def test_unreachable_participant_is_tried_again(self):
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            free = 'http://127.0.0.1:%d/x' % probe.getsockname()[1]
        reply = self.sagad.post('submit', gid=self.gid, trans_type='saga', wait_result=True,
                                steps=[{'action': free}], payloads=['x'], retry_interval=600)
        self.assertEqual(425, reply.status)
        self.assertEqual('submitted', self.sagad.status(self.gid))

    def test_nasty_but_legal_gids_are_kept_byte_for_byte(self):
        for gid in (' a b ', 'a/b?c=d&e#f%20', '{0}{tag}', '事务-😀', "q'\"\\;|$(x)", 'ä' * 128, '*',
                    'saga:{3}:tx:x'):
            self.participant.calls.clear()
            reply = self.sagad.post('submit', **self.saga('a', gid=gid, wait_result=True))
            self.assertEqual((gid, 200), (gid, reply.status))
            self.assertEqual(gid, self.participant.calls[0].query['gid'])
            self.assertEqual(gid, self.sagad.query(gid)['transaction']['gid'])

    def test_all_pages_through_everything(self):
        gids = set()
        for i in range(7):
            gid = 'page-%d-%s' % (i, self.gid)
            gids.add(gid)
            self.sagad.post('submit', **self.saga('a', gid=gid, wait_result=True))
        seen, position = [], ''
        for _ in range(1000):
            page = self.sagad.ask('GET', '/api/dtmsvr/all?limit=2&status=succeed&position=' +
                                  urllib.parse.quote(position)).body
            seen += [t['gid'] for t in page['transactions']]
            position = page['next_position']
            if not position:
                break
        self.assertTrue(gids <= set(seen))
        self.assertEqual(len(seen), len(set(seen)))
        one = self.sagad.ask('GET', '/api/dtmsvr/all?gid=page-3-' + self.gid).body
        self.assertEqual(['page-3-' + self.gid], [t['gid'] for t in one['transactions']])

    def test_metrics(self):
        self.sagad.post('submit', **self.saga('a', wait_result=True))
        text = self.sagad.ask('GET', '/api/metrics').text.decode()
        values = dict(line.rsplit(' ', 1) for line in text.splitlines() if line[0] != '#')
        self.assertGreater(float(values['sagad_transactions_total{type="saga",status="succeed"}']), 0)
        self.assertGreater(float(values['sagad_redis_round_trip_seconds_count']), 1)
        self.assertIn('sagad_due_transactions', values)
        self.assertEqual('1', values['sagad_redis_connections'])


class BadInputTest(Case):
    def raw(self, body):
        return self.sagad.ask('POST', '/api/dtmsvr/submit', body)

    def test_each_has_its_error_and_leaves_nothing_behind(self):
        good = self.saga('a')
        table = [
            (b'', 'not valid JSON'),
            (b'{"gid":', 'line 1'),
            (b'\xff\xfe', 'not valid JSON'),
            (b'[1,2]', 'must be a JSON object'),
            (b'[' * 200000, 'deep'),
            (b'{"a":' * 200000, 'deep'),
            (dict(good, gid=''), 'gid: is empty'),
            (dict(good, gid=None), 'gid: is empty'),
            (dict(good, gid='x' * 129), 'gid: '),
            (dict(good, gid='a\u0000b'), 'line 1'),
            (dict(good, gid='a\u001fb'), 'control characters'),
            (dict(good, gid='a\u007fb'), 'control characters'),
            (dict(good, gid={}), "'gid'"),
            (b'{"gid":"\xc3\x28","trans_type":"saga"}', 'UTF-8'),
            (dict(good, trans_type='nonsense'), "'nonsense' is not supported; allowed: saga, tcc"),
            (dict(good, trans_type='dance'), "'dance' is not supported; allowed: saga, tcc"),
            (dict(good, payloads=[]), 'has 0 elements, must have one for each of the 1 steps'),
            (dict(good, payloads=['', '']), 'has 2 elements'),
            (dict(good, payloads=[1]), 'payloads[0]'),
            (dict(good, payloads=['x' * (300 * 1024)]), 'payload'),
            (dict(good, steps='x'), "'steps'"),
            (dict(good, steps=[{'action': 'gopher://x'}]), 'steps[0].action'),
            (dict(good, retry_interval=-1), 'retry_interval'),
            (dict(good, timeout_to_fail='soon'), 'timeout_to_fail'),
            (dict(good, custom_data='{"concurrent":true,"orders":{"7":[0]}}'), "orders has '7'"),
        ]
        for body, says in table:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            reply = self.raw(data)
            shown = data[:80]
            self.assertEqual((shown, 400), (shown, reply.status))
            self.assertIn(says, reply.body['message'], shown)
        self.assertEqual([], self.redis.ask('KEYS', 'saga:*:tx:*'))
        self.assertEqual([], self.participant.calls)

    def test_ten_megabytes_are_refused(self):
        connection = http.client.HTTPConnection('127.0.0.1', self.sagad.port, timeout=DEADLINE)
        self.addCleanup(connection.close)
        connection.putrequest('POST', '/api/dtmsvr/submit')
        connection.putheader('Content-Length', str(10 << 20))
        connection.endheaders()
        try:
            connection.send(b' ' * (10 << 20))
        except OSError:
            pass  # the answer comes before all was sent
        response = connection.getresponse()
        self.assertEqual(413, response.status)
        self.assertIn('message', json.loads(response.read()))

    def test_paths_and_methods(self):
        for method, path, status in (('GET', '/', 404), ('GET', '/api/dtmsvr/nope', 404),
                                     ('POST', '/api/dtmsvr/nope', 404),
                                     ('GET', '/api/dtmsvr/submit', 405),
                                     ('PUT', '/api/dtmsvr/query', 405),
                                     ('GET', '/api/dtmsvr/query', 400),
                                     ('GET', '/api/dtmsvr/query?gid=a%0Ab', 400),
                                     ('GET', '/api/dtmsvr/query?gid=%00', 400),
                                     ('GET', '/api/dtmsvr/all?limit=many', 400),
                                     ('GET', '/api/dtmsvr/all?position=nonsense', 400)):
            reply = self.sagad.ask(method, path)
            self.assertEqual((path, status), (path, reply.status))
            self.assertIn('message', reply.body)

    def test_query_of_an_unknown_gid_is_as_in_dtm(self):
        found = self.sagad.query('never seen')
        self.assertEqual((None, []), (found['transaction'], found['branches']))


class KeysTest(Case):
    """Where an operator finds a transaction in Redis."""

    def sagactl_keys(self, gid):
        """The commands that sagactl prints, taken apart as a shell does, and its remarks."""
        done = subprocess.run([SAGACTL, '--http', 'http://127.0.0.1:%d' % self.sagad.port, 'keys',
                               gid], env=ENV, timeout=DEADLINE, check=True, stdout=subprocess.PIPE)
        lines = done.stdout.decode().splitlines()
        commands = [shlex.split(line) for line in lines if not line.startswith('#')]
        self.assertEqual({'redis-cli'}, {command[0] for command in commands})
        remarks = [line for line in lines if line.startswith('#')]
        return {c[1] + ' ' + c[2]: self.redis.ask(*c[1:]) for c in commands}, remarks

    def run_one(self, gid, status):
        self.sagad.post('submit', **self.saga('a', gid=gid, wait_result=True, retry_interval=600))
        self.await_status(gid, status)
        return self.sagad.query(gid)['keys']

    def test_of_an_ended_one_with_a_short_history(self):
        gid = "it's {a} \u00fc"
        keys = self.run_one(gid, 'succeed')
        self.assertEqual(keys['tx'], keys['history'])
        self.assertEqual('succeed', self.redis.ask('HGET', keys['tx'], 'status'))
        self.assertEqual(0, self.redis.ask('EXISTS', keys['log']))
        answers, remarks = self.sagactl_keys(gid)
        self.assertEqual({'HGETALL ' + keys['tx'], 'HGET ' + keys['tx'],
                          'ZSCORE ' + keys['recent']}, set(answers))
        self.assertIn('01.action', answers['HGETALL ' + keys['tx']])
        self.assertIn('01.action SUCCESS', answers['HGET ' + keys['tx']])
        self.assertGreater(int(answers['ZSCORE ' + keys['recent']]), 10 ** 12)
        self.assertRegex('\n'.join(remarks), '^# .*short history')

    def test_of_an_ended_one_with_a_long_history(self):
        self.participant.answers['/a'] = (409, b'a long reason ' * 20)
        keys = self.run_one(self.gid, 'failed')
        self.assertEqual(keys['log'], keys['history'])
        answers, remarks = self.sagactl_keys(self.gid)
        self.assertEqual({'HGETALL ' + keys['tx'], 'XRANGE ' + keys['log'],
                          'ZSCORE ' + keys['recent']}, set(answers))
        self.assertIn('FAILURE', str(answers['XRANGE ' + keys['log']]))
        self.assertEqual([], remarks)

    def test_of_one_that_runs(self):
        self.participant.answers['/a'] = (425, b'')
        keys = self.run_one(self.gid, 'submitted')
        wait_until(lambda: self.redis.ask('HEXISTS', keys['tx'], 'history'), 'the attempt is stored')
        answers, remarks = self.sagactl_keys(self.gid)
        self.assertEqual({'HGETALL ' + keys['tx'], 'HGET ' + keys['tx'],
                          'ZSCORE ' + keys['due'], 'ZSCORE ' + keys['recent']}, set(answers))
        self.assertIn('ONGOING', answers['HGET ' + keys['tx']])
        self.assertGreater(int(answers['ZSCORE ' + keys['due']]), 10 ** 12)
        self.assertRegex('\n'.join(remarks), '^# .*short history')

    def test_of_nothing(self):
        self.assertNotIn('keys', self.sagad.query('never seen'))
        with self.assertRaises(subprocess.CalledProcessError) as failed:
            self.sagactl_keys('never seen')
        self.assertEqual(1, failed.exception.returncode)


class LogTest(Case):
    def assert_line(self, what, gid):
        """A line about this gid whose fields are those that sagad writes."""
        line = wait_until(lambda: self.sagad.process.find('.*msg="' + what + '.*'), what).group()
        fields = dict(field.split('=', 1) for field in shlex.split(line))
        self.assertEqual(gid.replace('"', "'"), fields.get('gid'), line)
        self.assertNotIn('alert', fields, line)

    def test_a_gid_cannot_forge_fields(self):
        gid = 'x" level=error alert=1 y="' + self.gid
        gate = self.participant.answers['/a'] = threading.Event()
        self.addCleanup(gate.set)
        self.sagad.post('submit', **self.saga('a', gid=gid))
        wait_until(lambda: self.participant.calls, 'it is called')
        key = self.sagad.query(gid)['keys']['tx']
        self.redis.ask('DEL', key)
        gate.set()
        self.assert_line('the store lost a transaction', gid)
        self.await_status(gid, 'succeed')
        self.redis.ask('HSET', key, 'status', 'rub"bish')
        self.sagad.query(gid)
        self.assert_line('damaged record', gid)


class ProcessTest(unittest.TestCase):
    """Exit codes and signals."""

    def setUp(self):
        self.redis = Redis()
        self.addCleanup(self.redis.close)
        self.participant = Participant()
        self.addCleanup(self.participant.close)

    def run_once(self, *args):
        process = Process([SAGAD, *args])
        self.addCleanup(process.kill)
        return process.end(), process.text()

    def test_wrong_command_line_and_settings(self):
        self.assertEqual(0, self.run_once('--help')[0])
        self.assertEqual(0, self.run_once('--version')[0])
        self.assertEqual(0, self.run_once('--check-config')[0])
        self.assertEqual(2, self.run_once('--no-such-option', '1')[0])
        code, text = self.run_once('--check-config', '--lease', 'soon')
        self.assertEqual(3, code)
        self.assertIn('lease', text)
        code, text = self.run_once('--check-config', '--retry_interval_max', '1s')
        self.assertEqual(3, code)
        self.assertIn('retry_interval_max', text)
        self.assertNotIn('is valid', text)
        self.assertEqual(3, self.run_once('--config', '/nonexistent/sagad.conf')[0])

    def test_sample_and_manual_have_every_setting(self):
        root = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', '..')
        _, text = self.run_once('--help-config')
        with open(os.path.join(root, 'conf', 'sagad.conf'), encoding='utf-8') as file:
            self.assertEqual(file.read().strip(), text.strip())  # made by --help-config
        with open(os.path.join(root, 'docs', 'man', 'sagad.conf.5'), encoding='utf-8') as file:
            manual = file.read()
        names = re.findall(r'^#([a-z_]+) =', text, re.M)
        self.assertGreater(len(names), 30)
        self.assertEqual([], [n for n in names if not re.search(r'^\.It Cm %s$' % n, manual, re.M)])

    def test_port_in_use(self):
        with socket.socket() as taken:
            taken.bind(('127.0.0.1', 0))
            taken.listen()
            code, text = self.run_once('--redis', 'unix:' + self.redis.socket, '--listen_http',
                                       '127.0.0.1:%d' % taken.getsockname()[1])
        self.assertEqual(4, code)
        self.assertIn('cannot listen', text)

    def test_redis_that_cannot_keep_the_promise(self):
        weak = Redis('--appendonly', 'no')
        self.addCleanup(weak.close)
        code, text = self.run_once('--redis', 'unix:' + weak.socket)
        self.assertEqual(5, code)
        self.assertIn('appendonly', text)
        evicting = Redis('--appendonly', 'yes', '--maxmemory', '50mb', '--maxmemory-policy',
                         'allkeys-lru')
        self.addCleanup(evicting.close)
        code, text = self.run_once('--redis', 'unix:' + evicting.socket)
        self.assertEqual(5, code)
        self.assertIn('maxmemory-policy', text)

    def test_wrong_password(self):
        locked = Redis('--appendonly', 'yes', '--requirepass', 'right')
        self.addCleanup(locked.close)
        for password in ('', 'wrong'):
            code, text = self.run_once('--redis', 'unix:' + locked.socket, '--redis_wait', '500ms',
                                       '--redis_password', password)
            self.assertEqual(5, code)
            self.assertRegex(text, 'NOAUTH|WRONGPASS')
        sagad = Sagad(locked, '--redis_password', 'right')
        self.addCleanup(sagad.process.kill)
        self.assertEqual(0, sagad.end())

    def test_other_number_of_partitions(self):
        first = Sagad(self.redis, '--partitions', '4')
        self.addCleanup(first.process.kill)
        self.assertEqual(0, first.end())
        code, text = self.run_once('--redis', 'unix:' + self.redis.socket, '--partitions', '8')
        self.assertEqual(5, code)
        self.assertIn('partitions', text)

    def test_redis_absent_at_the_start(self):
        self.redis.kill()
        code, text = self.run_once('--redis', 'unix:' + self.redis.socket, '--redis_wait', '300ms')
        self.assertEqual(5, code)
        self.assertIn('Redis cannot be used', text)
        process = Process([SAGAD, '--redis', 'unix:' + self.redis.socket, '--listen_http',
                           '127.0.0.1:0', '--listen_tcp', '127.0.0.1:0'])
        self.addCleanup(process.kill)
        wait_until(lambda: process.find('waiting for Redis'), 'it waits')
        self.redis.start()
        wait_until(lambda: process.find('msg=ready'), 'ready once Redis is there')
        process.signal(signal.SIGTERM)
        self.assertEqual(0, process.end())

    def test_signal_while_waiting_for_redis(self):
        self.redis.kill()
        process = Process([SAGAD, '--redis', 'unix:' + self.redis.socket])
        self.addCleanup(process.kill)
        wait_until(lambda: process.find('waiting for Redis'), 'it waits')
        process.signal(signal.SIGINT)
        self.assertEqual(0, process.end())

    def submit_slow(self, sagad):
        """A saga whose call is in flight; returns the thread that waits for the result."""
        self.gate = threading.Event()
        self.addCleanup(self.gate.set)
        self.participant.answers['/slow'] = self.gate
        replies = []
        body = dict(gid='slow', trans_type='saga', wait_result=True, request_timeout=20,
                    steps=[{'action': self.participant.url + '/slow'}], payloads=[''])

        def ask():
            try:
                replies.append(sagad.post('submit', **body))
            except (OSError, http.client.HTTPException) as error:
                replies.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        wait_until(lambda: self.participant.calls, 'the branch is called')
        return thread, replies

    def test_sigterm_lets_calls_in_flight_end(self):
        sagad = Sagad(self.redis)
        self.addCleanup(sagad.process.kill)
        thread, replies = self.submit_slow(sagad)
        sagad.process.signal(signal.SIGTERM)
        wait_until(lambda: sagad.process.find('msg=draining'), 'it drains')
        self.gate.set()
        self.assertEqual(0, sagad.process.end())
        thread.join(DEADLINE)
        self.assertIn(replies[0].status, (200, 425, 503))  # answered, not dropped
        self.assertTrue(sagad.process.find('drained, ends'))

    def test_second_signal_ends_at_once(self):
        sagad = Sagad(self.redis)
        self.addCleanup(sagad.process.kill)
        thread, _ = self.submit_slow(sagad)
        sagad.process.signal(signal.SIGTERM)
        wait_until(lambda: sagad.process.find('msg=draining'), 'it drains')
        # one that follows within a moment is no second one
        wait_until(lambda: sagad.process.signal(signal.SIGTERM) or
                   sagad.process.popen.poll() is not None, 'it ends')
        self.assertEqual(1, sagad.process.end())
        self.gate.set()
        thread.join(DEADLINE)

    def test_drain_timeout(self):
        sagad = Sagad(self.redis, '--drain_timeout', '100ms')
        self.addCleanup(sagad.process.kill)
        thread, _ = self.submit_slow(sagad)
        self.assertEqual(0, sagad.end())
        self.assertTrue(sagad.process.find('drain_timeout is over'))
        self.gate.set()
        thread.join(DEADLINE)

    def test_kill_and_start_again_goes_on(self):
        first = Sagad(self.redis, '--lease', '500ms')
        self.addCleanup(first.process.kill)
        thread, _ = self.submit_slow(first)
        first.end(signal.SIGKILL)
        self.gate.set()
        thread.join(DEADLINE)
        second = Sagad(self.redis, '--lease', '500ms')
        self.addCleanup(second.process.kill)
        wait_until(lambda: second.status('slow') == 'succeed', 'the other one ends it')
        self.assertEqual(0, second.end())

    def test_redis_away_for_a_while(self):
        sagad = Sagad(self.redis, '--store_timeout', '300ms')
        self.addCleanup(sagad.process.kill)
        body = dict(trans_type='saga', steps=[{'action': self.participant.url + '/a'}],
                    payloads=[''], wait_result=True)
        self.redis.kill()
        reply = sagad.post('submit', gid='while-away', **body)
        self.assertEqual((503, '1'), (reply.status, reply.headers['Retry-After']))
        self.assertEqual(200, sagad.ask('GET', '/api/ping').status)
        self.assertNotIn('sagad_due_transactions ', sagad.ask('GET', '/api/metrics').text.decode())
        self.redis.start()
        wait_until(lambda: sagad.post('submit', gid='back-again', **body).status == 200,
                   'it works again')
        self.assertEqual(0, sagad.end())

    def reconnects(self, sagad):
        return sum('mod=redis msg="connected"' in line for line in list(sagad.process.lines))

    def make_reconnect(self, sagad):
        before = self.reconnects(sagad)
        self.redis.ask('CLIENT', 'KILL', 'TYPE', 'normal')
        # a submission is answered after the look at Redis, whose commands come first
        wait_until(lambda: self.reconnects(sagad) > before, 'it has a connection again')
        body = dict(trans_type='saga', steps=[{'action': ''}], payloads=[''], wait_result=True)
        reply = sagad.post('submit', gid='after-connection-%d' % before, **body)
        self.assertEqual(200, reply.status)

    def test_redis_that_cannot_keep_the_promise_any_more(self):
        sagad = Sagad(self.redis)
        self.addCleanup(sagad.process.kill)
        self.make_reconnect(sagad)
        self.assertFalse(sagad.process.find('level=(warn|error) .*(appendonly|maxmemory|any more)'))
        self.redis.ask('CONFIG', 'SET', 'appendonly', 'no')
        self.redis.ask('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru')
        self.make_reconnect(sagad)
        wait_until(lambda: sagad.process.find('level=error .*does not keep what the settings '
                                              'promise any more'), 'it says so')
        self.assertTrue(sagad.process.find('level=error mod=redis .*appendonly is no'))
        self.redis.ask('CONFIG', 'SET', 'appendonly', 'yes')
        self.make_reconnect(sagad)  # it lives on
        wait_until(lambda: sagad.process.find('level=warn mod=redis .*maxmemory-policy is allkeys'),
                   'a warning')
        self.assertEqual(0, sagad.end())

    def test_readiness_is_told_to_the_service_manager(self):
        path = os.path.join(self.redis.dir, 'notify')
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(path)
            manager.settimeout(DEADLINE)
            env = dict(ENV, NOTIFY_SOCKET=path, WATCHDOG_USEC='100000')
            process = Process([SAGAD, '--redis', 'unix:' + self.redis.socket, '--listen_http',
                               '127.0.0.1:0', '--listen_tcp', '127.0.0.1:0'], env)
            self.addCleanup(process.kill)
            seen = set()
            while not {b'READY=1', b'WATCHDOG=1'} <= seen:
                seen.add(manager.recv(100))
            process.signal(signal.SIGTERM)
            while b'STOPPING=1' not in seen:
                seen.add(manager.recv(100))
            self.assertEqual(0, process.end())

    def test_a_reload_before_it_is_ready_does_not_tell_that_it_is(self):
        self.redis.kill()
        path = os.path.join(self.redis.dir, 'notify')
        for workers in '1', '2':
            with self.subTest(workers=workers), \
                    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
                manager.bind(path + workers)
                env = dict(ENV, NOTIFY_SOCKET=path + workers)
                ports = Port(), Port()
                for port in ports:
                    self.addCleanup(port.release)
                process = Process([SAGAD, '--redis', 'unix:' + self.redis.socket, '--workers',
                                   workers, '--listen_http', '127.0.0.1:%d' % ports[0].number,
                                   '--listen_tcp', '127.0.0.1:%d' % ports[1].number], env)
                self.addCleanup(process.kill)
                wait_until(lambda p=process: p.find('waiting for Redis'), 'it waits')
                process.signal(signal.SIGHUP)
                wait_until(lambda p=process: p.find('msg=reloaded'), 'new settings')
                process.signal(signal.SIGTERM)
                self.assertEqual(0, process.end())
                manager.setblocking(False)
                seen = []
                with self.assertRaises(BlockingIOError):
                    while True:
                        seen.append(manager.recv(100))
                self.assertEqual([b'STOPPING=1'], seen)


class TokenTest(Case):
    sagad_args = ('--token', 's3cret')

    def setUp(self):
        pass

    def test_token(self):
        path = '/api/dtmsvr/newGid'
        self.assertEqual(401, self.sagad.ask('GET', path).status)
        right = {'Authorization': 'Bearer s3cret'}
        self.assertEqual(200, self.sagad.ask('GET', path, headers=right).status)
        self.assertEqual(200, self.sagad.ask('GET', '/api/ping').status)


class WorkersTest(unittest.TestCase):
    def setUp(self):
        self.redis = Redis()
        self.addCleanup(self.redis.close)

    def two_ports(self):
        ports = Port(), Port()
        for port in ports:
            self.addCleanup(port.release)
        return [port.number for port in ports]

    def ready_pids(self, sagad):
        return [int(m.group(1)) for m in (re.search(r'msg=ready .*pid=(\d+)', line)
                                          for line in list(sagad.process.lines)) if m]

    def is_running(self, pid):
        try:
            with open('/proc/%d/stat' % pid, encoding='ascii') as file:
                return file.read().rsplit(')', 1)[1].split()[0] != 'Z'
        except FileNotFoundError:
            return False

    def test_workers_share_ports_are_replaced_and_end_together(self):
        http_port, tcp_port = self.two_ports()
        sagad = Sagad(self.redis, '--workers', '2', http_port=http_port, tcp_port=tcp_port)
        self.addCleanup(sagad.process.kill)
        wait_until(lambda: len(self.ready_pids(sagad)) == 2, 'both are ready')
        pids = self.ready_pids(sagad)
        for i in range(20):
            reply = sagad.post('submit', gid='w%d' % i, trans_type='saga', wait_result=True,
                               steps=[{'action': ''}], payloads=[''])
            self.assertEqual(200, reply.status)
        text = sagad.ask('GET', '/api/metrics').text.decode()
        self.assertIn('sagad_transactions_total{type="saga",status="succeed"} 20\n', text)
        self.assertIn('sagad_workers 2\n', text)
        os.kill(pids[0], signal.SIGKILL)
        wait_until(lambda: len(self.ready_pids(sagad)) == 3, 'it is started again')
        pids = self.ready_pids(sagad)
        self.assertEqual(0, sagad.end())
        self.assertEqual([], [pid for pid in pids if self.is_running(pid)])

    def test_the_parent_speaks_to_the_service_manager(self):
        http_port, tcp_port = self.two_ports()
        path = os.path.join(self.redis.dir, 'notify')
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(path)
            manager.settimeout(DEADLINE)
            env = dict(ENV, NOTIFY_SOCKET=path, WATCHDOG_USEC='100000')
            process = Process([SAGAD, '--redis', 'unix:' + self.redis.socket, '--workers', '2',
                               '--listen_http', '0.0.0.0:%d' % http_port, '--listen_tcp',
                               '127.0.0.1:%d' % tcp_port], env)
            self.addCleanup(process.kill)
            seen = set()
            while not {b'READY=1', b'WATCHDOG=1'} <= seen:
                seen.add(manager.recv(100))
            process.signal(signal.SIGTERM)
            self.assertEqual(0, process.end())
            self.assertTrue(process.find('no token is set.* listen=0.0.0.0'))

    def test_a_killed_parent_leaves_nobody_behind(self):
        http_port, tcp_port = self.two_ports()
        sagad = Sagad(self.redis, '--workers', '2', http_port=http_port, tcp_port=tcp_port)
        self.addCleanup(sagad.process.kill)
        wait_until(lambda: len(self.ready_pids(sagad)) == 2, 'both are ready')
        pids = self.ready_pids(sagad)
        sagad.process.signal(signal.SIGKILL)
        wait_until(lambda: not [pid for pid in pids if self.is_running(pid)], 'they end as well')

    def test_what_stops_one_stops_all(self):
        self.redis.kill()
        http_port, tcp_port = self.two_ports()
        process = Process([SAGAD, '--redis', 'unix:' + self.redis.socket, '--workers', '2',
                           '--redis_wait', '100ms', '--listen_http', '127.0.0.1:%d' % http_port,
                           '--listen_tcp', '127.0.0.1:%d' % tcp_port])
        self.addCleanup(process.kill)
        self.assertEqual(5, process.end())


if __name__ == '__main__':
    unittest.main()
