// What two other readers of Content Credentials say of files: c2pa's own library as WebAssembly, and an independent
// implementation in TypeScript, which reads PNG and JPEG. One line a file: name, reader, verdict, what was said.
//
//     npm install --ignore-scripts @contentauth/c2pa-wasm@0.15.0 @trustnxt/c2pa-ts@0.9.4
//     node experiments/trust/readers.mjs out/*.png
import * as fs from 'node:fs';
import * as path from 'node:path';
import { pathToFileURL } from 'node:url';

const installed = (name) => import(pathToFileURL(path.resolve('node_modules', name)).href);   // where it is started
const TYPES = {png: 'image/png', jpg: 'image/jpeg', webp: 'image/webp', tif: 'image/tiff', avif: 'image/avif',
    gif: 'image/gif'};

const own = await installed('@contentauth/c2pa-wasm/pkg/c2pa.js');
own.initSync({module: fs.readFileSync('node_modules/@contentauth/c2pa-wasm/pkg/c2pa_bg.wasm')});
const {JPEG, PNG} = await installed('@trustnxt/c2pa-ts/dist/asset/index.js');
const {SuperBox} = await installed('@trustnxt/c2pa-ts/dist/jumbf/index.js');
const {ManifestStore} = await installed('@trustnxt/c2pa-ts/dist/manifest/index.js');

async function wasm(file, data) {
    const kind = TYPES[path.extname(file).slice(1)];
    const reader = await own.WasmReader.fromBytes(kind, data);
    const said = JSON.parse(reader.json());
    const failed = (said.validation_results?.activeManifest?.failure ?? []).map((each) => each.code);
    return [said.validation_state, failed.join(' ')];
}

async function typescript(file, data) {
    const kind = [JPEG, PNG].find((each) => each.canRead(data));
    if (!kind) return ['does not read this format', ''];
    const asset = new kind(data);
    const found = asset.getManifestJUMBF();
    if (!found) return ['no manifest', ''];
    const result = await ManifestStore.read(SuperBox.fromBuffer(found)).validate(asset);
    const failed = result.statusEntries.filter((each) => !each.success).map((each) => each.code);
    return [result.isValid ? 'Valid' : 'Invalid', failed.join(' ')];
}

for (const file of process.argv.slice(2)) {
    const data = new Uint8Array(fs.readFileSync(file));
    for (const [name, reader] of [['c2pa-wasm', wasm], ['c2pa-ts', typescript]]) {
        let said;
        try {
            said = await reader(file, data);
        } catch (error) {
            said = ['error', String(error).split('\n')[0].slice(0, 120)];
        }
        console.log([path.basename(file), name, ...said].join('  '));
    }
}
