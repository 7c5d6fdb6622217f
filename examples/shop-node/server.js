// The shop: its headers and sessions, its pages, and what it says of failures.

import { randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import express from 'express';
import session from 'express-session';
import { ElevationRequiredError, TwinlockError } from 'twinlock';
import { account } from './account.js';
import { administration } from './administration.js';
import { page } from './prompt.js';
import { store } from './store.js';
import { twoStep } from './two-step.js';
import { userById } from './users.js';

const secure = 'SHOP_TLS' in process.env;
const app = express();
app.set('view engine', 'ejs');
app.set('views', fileURLToPath(new URL('views', import.meta.url)));
app.disable('x-powered-by');
app.set('trust proxy', secure ? 1 : false);

app.use((request, response, next) => {
  response.set({
    // Nothing but the shop's own files, no script or style within a page, and images from `data:` for the QR code.
    'Content-Security-Policy':
      "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; " +
      "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'same-origin',
    'Cross-Origin-Opener-Policy': 'same-origin',
  });
  if (secure) response.set('Strict-Transport-Security', 'max-age=31536000');
  next();
});
app.use('/static', express.static(fileURLToPath(new URL('../shop/static', import.meta.url))));

// Forms are taken from the shop's own pages alone. Browsers say where a form comes from; what does not say it is none.
app.use((request, response, next) => {
  const site = request.get('Sec-Fetch-Site');
  const own = site ? site === 'same-origin' : request.get('Origin') === `${request.protocol}://${request.get('Host')}`;
  if (own || ['GET', 'HEAD'].includes(request.method)) return next();
  response.status(403).send('This form is not from the shop.');
});

// Secrets and keys are on some of the pages, and the back button must not show those of who logged out.
app.use((request, response, next) => {
  response.set('Cache-Control', 'no-store');
  next();
});
app.use(express.urlencoded({ extended: false, limit: '10kb' }));
app.use(
  session({
    name: 'session',
    // With this in a file or in the environment, and a store of their own, sessions outlive a restart.
    secret: process.env.SHOP_SECRET_KEY ?? randomBytes(32).toString('hex'),
    cookie: { httpOnly: true, sameSite: 'lax', secure, maxAge: 12 * 3600_000 },
    resave: false,
    saveUninitialized: false,
  }),
);
app.use((request, response, next) => {
  request.body ??= {};
  request.user = userById(request.session.userId);
  next();
});

app.use(account, twoStep, store, administration);
app.use((request, response) => page(request, response.status(404), 'message', { title: 'There is no such page' }));

// Nobody passes, and the user is told a sentence.
app.use((error, request, response, next) => {
  const here = encodeURIComponent(request.path);
  if (error instanceof ElevationRequiredError) {
    if (!request.user) return response.redirect(`/login?next=${here}`);
    if (request.method === 'GET') return response.redirect(`/confirm?next=${here}`);
    // Going there and back would lose what was sent.
    const sentence = 'This needs a recent proof of identity.';
    return page(request, response.status(403), 'message', { title: 'Not allowed', sentence, confirm: here });
  }
  console.error(error);
  if (!(error instanceof TwinlockError)) return next(error);
  const sentence = 'Two-step verification cannot be reached. Nothing is lost: reload this page in a moment.';
  page(request, response.status(503), 'message', { title: 'This does not work just now', sentence });
});

const port = Number(process.env.SHOP_PORT ?? 3000);
app.listen(port, '127.0.0.1', () => console.log(`The shop is open at http://127.0.0.1:${port}`));
