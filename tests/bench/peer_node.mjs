// What a careful Node service does, for `make bench`: reports that arrive while a sync runs share the next one.
//     node peer_node.mjs FILE           listens on a free port of 127.0.0.1 and prints it
import fs from 'node:fs';
import http from 'node:http';

const fd = fs.openSync(process.argv[2], 'a', 0o600);
const jobs = new Map();
let waiting = [], syncing = false;

function decide(name, loss) {
    let job = jobs.get(name);
    if (!job) jobs.set(name, job = {job: name, step: 0, lr: 0.1, num_bad: 0, best: Infinity});
    job.step++;
    job.num_bad = loss < job.best ? 0 : job.num_bad + 1;
    if (loss < job.best) job.best = loss;
    if (job.num_bad > 10) { job.lr *= 0.9; job.num_bad = 0; }
    return JSON.stringify(job);
}

function commit() {
    const batch = waiting;
    waiting = [];
    syncing = true;
    const lines = batch.map((w) => w.text + '\n').join('');
    fs.write(fd, lines, (failed, wrote) => {
        if (failed || wrote !== Buffer.byteLength(lines)) throw failed || new Error('short write');
        fs.fdatasync(fd, (error) => {
            if (error) throw error;
            for (const {res, text} of batch) {
                res.writeHead(200, {'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text)});
                res.end(text);
            }
            syncing = false;
            if (waiting.length) commit();
        });
    });
}

const server = http.createServer((req, res) => {
    let body = '';
    req.on('data', (chunk) => { body += chunk; });
    req.on('end', () => {
        const name = /^\/v1\/jobs\/([^/:]+):report$/.exec(req.url);
        let loss;
        try { loss = JSON.parse(body).loss; } catch { /* below */ }
        if (!name || typeof loss !== 'number') { res.writeHead(400); res.end('{}'); return; }
        waiting.push({res, text: decide(name[1], loss)});
        if (!syncing) commit();
    });
});
server.keepAliveTimeout = 600000;
server.listen({host: '127.0.0.1', port: 0, backlog: 4096}, () => console.log('127.0.0.1:' + server.address().port));
