// The identity provider of the tests: `oidc-provider` (certified; version 8 runs on Debian 12's Node) with users, groups
// and an endpoint with which tests control it.
//
// `node server.mjs` reads one line of JSON from stdin: {"clients": [...], "users": {NAME: {...claims}}, "port": 0}
// and prints `ready PORT`. It ends when stdin is closed. The password of NAME is `secret of NAME`.
//
// POST /control, JSON:
//   {"user": NAME, "set": {claims}, "drop": [claims]}: change the user's claims
//   {"user": NAME, "disabled": true}: disable the user
//   {"rotate": true}: use new signing keys and drop the old ones
//   {"twist": {...}}: make the next ID tokens wrong, see `twisted`
//   {"lose_claims": true}: put only `sub` into ID tokens
//   {"userinfo": {claims}}: use other claims in a signed userinfo; null: do not
//   {"logout": NAME}: end the user's sessions, with back-channel logout
//   {"logout_token": {...}}: return a signed logout token
//   {"down": true|false}: answer 503 to everything except /control
//   {"counts": true}: return how often each path was requested

import http from 'node:http';
import { createInterface } from 'node:readline';
import { createHmac, generateKeyPairSync, randomUUID } from 'node:crypto';
import Provider from 'oidc-provider';
import { SignJWT, decodeJwt, importJWK } from 'jose';

const given = JSON.parse(await new Promise((done) => createInterface({ input: process.stdin }).once('line', done)));
process.stdin.on('end', () => process.exit(0)).resume();

const users = new Map(Object.entries(given.users));
const store = new Map();
const counts = {};
let issuer;
let keys = [];
let provider;
let handle;
let twist = null;
let loseClaims = false;
let down = false;
let userinfo = null;

class Adapter {
  constructor(model) { this.model = model; }

  key(id) { return `${this.model}:${id}`; }

  async find(id) {
    const found = store.get(this.key(id));
    return found && (!found.until || found.until > Date.now()) ? found.payload : undefined;
  }

  async findByUid(uid) {
    for (const { payload } of this.all()) if (payload.uid === uid) return payload;
    return undefined;
  }

  async findByUserCode() { return undefined; }

  async upsert(id, payload, seconds) {
    store.set(this.key(id), { payload, until: seconds ? Date.now() + seconds * 1000 : 0 });
  }

  async consume(id) { store.get(this.key(id)).payload.consumed = Math.floor(Date.now() / 1000); }

  async destroy(id) { store.delete(this.key(id)); }

  async revokeByGrantId(grantId) {
    for (const [key, { payload }] of store) if (payload.grantId === grantId) store.delete(key);
  }

  * all() {
    for (const [key, found] of store) if (key.startsWith(`${this.model}:`)) yield found;
  }
}

function freshKeys() {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' });
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' });
  return [
    { ...rsa, kid: `rsa-${randomUUID()}`, use: 'sig', alg: 'RS256' },
    { ...ec, kid: `ec-${randomUUID()}`, use: 'sig', alg: 'ES256' },
  ];
}

function make() {
  keys = freshKeys();
  provider = new Provider(issuer, {
    adapter: Adapter,
    clients: given.clients,
    jwks: { keys },
    cookies: { keys: ['for tests'] },
    claims: {
      openid: ['sub'],
      profile: [
        'name', 'nickname', 'preferred_username', 'groups', 'groups_direct', 'realm_access', '_claim_names',
        'hd', 'idp', 'eppn', 'identity_provider', 'affiliation', 'resource_access', 'https://example.edu/groups',
      ],
      email: ['email', 'email_verified'],
    },
    scopes: ['openid', 'offline_access', 'profile', 'email'],
    conformIdTokenClaims: false,
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256'], userinfoSigningAlgValues: ['RS256', 'ES256'] },
    features: {
      devInteractions: { enabled: false },
      backchannelLogout: { enabled: true },
      revocation: { enabled: true },
      jwtUserinfo: { enabled: true },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: async (ctx, form) => {
          ctx.body = `<!doctype html><title>Sign out there too</title>${form}
            <button form="op.logoutForm" name="logout" value="yes">Yes, sign me out</button>`;
        },
      },
    },
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
    issueRefreshToken: async (ctx, client) => client.grantTypeAllowed('refresh_token'),
    rotateRefreshToken: () => true,
    expiresWithSession: async () => false,
    async loadExistingGrant(ctx) {
      const { client, session } = ctx.oidc;
      const known = session.grantIdFor(client.clientId);
      const grant = (known && await provider.Grant.find(known))
        || new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
      grant.addOIDCScope('openid profile email offline_access');
      await grant.save();
      return grant;
    },
    async findAccount(ctx, id) {
      const user = users.get(id);
      if (!user || user.disabled) return undefined;
      const { disabled, ...claims } = user;
      return {
        accountId: id,
        claims: async (use) => (use === 'id_token' && loseClaims ? { sub: id } : { preferred_username: id, ...claims, sub: id }),
      };
    },
    ttl: { AccessToken: 300, AuthorizationCode: 60, IdToken: 300, Interaction: 600, Session: 3600, Grant: 3600, RefreshToken: 3600 },
  });
  provider.use(async (ctx, next) => {
    await next();
    if (ctx.path === '/me' && userinfo) ctx.body = await sign({ ...decodeJwt(String(ctx.body)), ...userinfo }, keys[0]);
    if (ctx.path === '/token' && twist && ctx.body?.id_token) ctx.body.id_token = await twisted(ctx.body.id_token);
  });
  handle = provider.callback();
}

// An ID token that is wrong in one way: `set` and `drop` change claims; `alg` "none" or "HS256" (with the public key,
// or the client's secret) takes the place of the signature; `key` "unknown" signs with a key that is not published.
async function twisted(token) {
  const claims = { ...decodeJwt(token), ...twist.set };
  for (const name of twist.drop ?? []) delete claims[name];
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const [rsa] = keys;
  if (twist.alg === 'none') return `${part({ alg: 'none' })}.${part(claims)}.`;
  if (twist.alg === 'HS256') {
    const head = `${part({ alg: 'HS256', kid: twist.with === 'secret' ? undefined : rsa.kid })}.${part(claims)}`;
    const { kty, n, e } = rsa;
    const secret = twist.with === 'secret' ? given.clients[0].client_secret : JSON.stringify({ kty, n, e });
    return `${head}.${createHmac('sha256', secret).update(head).digest('base64url')}`;
  }
  const key = twist.key === 'unknown' ? { ...freshKeys()[0], kid: twist.kid ?? rsa.kid } : rsa;
  return sign(claims, key);
}

async function sign(claims, key, header = {}) {
  return new SignJWT(claims).setProtectedHeader({ alg: key.alg, kid: key.kid, ...header }).sign(await importJWK(key, key.alg));
}

async function control(asked) {
  if (asked.user) {
    const before = users.get(asked.user) ?? {};
    const after = { ...before, ...asked.set, disabled: asked.disabled ?? before.disabled ?? false };
    for (const name of asked.drop ?? []) delete after[name];
    users.set(asked.user, after);
  }
  if (asked.rotate) make();
  if ('twist' in asked) twist = asked.twist;
  if ('lose_claims' in asked) loseClaims = asked.lose_claims;
  if ('down' in asked) down = asked.down;
  if ('userinfo' in asked) userinfo = asked.userinfo;
  if (asked.logout_token) return { logout_token: await sign(asked.logout_token, keys[0], { typ: 'logout+jwt' }) };
  if (asked.logout) {
    const notified = [];
    for (const [key, { payload }] of store) {
      if (key.startsWith('Session:') && payload.accountId === asked.logout) {
        for (const [id, { sid }] of Object.entries(payload.authorizations ?? {})) {
          const client = await provider.Client.find(id);
          if (client.backchannelLogoutUri) {
            await client.backchannelLogout(asked.logout, sid);
            notified.push(id);
          }
        }
        store.delete(key);
      }
    }
    return { notified };
  }
  return asked.counts ? counts : {};
}

async function read(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts).toString();
}

async function interact(request, response) {
  const page = (problem) => {
    response.setHeader('content-type', 'text/html');
    response.end(`<!doctype html><title>The campus</title><h1>The campus</h1><p role="alert">${problem}</p>
      <form method="post"><label>Name <input name="name"></label><label>Password <input name="password" type="password"></label>
      <button name="answer" value="yes">Sign in here</button><button name="answer" value="no">Refuse</button></form>`);
  };
  const { prompt } = await provider.interactionDetails(request, response);
  if (prompt.name === 'consent') return provider.interactionFinished(request, response, { consent: {} }, { mergeWithLastSubmission: true });
  if (request.method !== 'POST') return page('');
  const form = new URLSearchParams(await read(request));
  if (form.get('answer') === 'no') {
    return provider.interactionFinished(request, response, { error: 'access_denied', error_description: 'refused' });
  }
  const user = users.get(form.get('name'));
  if (!user || user.disabled || form.get('password') !== `secret of ${form.get('name')}`) return page('No.');
  return provider.interactionFinished(request, response, { login: { accountId: form.get('name') } });
}

const server = http.createServer(async (request, response) => {
  try {
    const path = request.url.split('?')[0];
    counts[path] = (counts[path] ?? 0) + 1;
    if (path === '/control') {
      const answer = await control(JSON.parse(await read(request)));
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify(answer));
    } else if (down) {
      response.statusCode = 503;
      response.end('down for a while');
    } else if (path.startsWith('/interaction/')) {
      await interact(request, response);
    } else {
      await handle(request, response);
    }
  } catch (error) {
    console.error(error);
    response.statusCode = 500;
    response.end(String(error));
  }
});
server.listen(given.port ?? 0, '127.0.0.1', () => {
  issuer = `http://127.0.0.1:${server.address().port}`;
  make();
  console.log(`ready ${server.address().port}`);
});
