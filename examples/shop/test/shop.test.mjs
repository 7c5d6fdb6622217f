// The whole life of users of a shop, in a browser. SHOP names the shop: shop-python or shop-node.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Shop } from './shop.mjs';
import { Visitor, launch } from './visitor.mjs';

let browser;
let shop;

before(async () => {
  shop = await Shop.start(process.env.SHOP);
  browser = await launch();
});

after(async () => {
  await Promise.all([browser?.close(), shop?.stop()]);
});

/** A test with a visitor of its own. Where it fails, the log of the shop tells more. */
function visit(about, options, work) {
  test(about, async () => {
    const visitor = await Visitor.arrive(browser, shop, options);
    try {
      await work(visitor);
      await visitor.leave();
    } catch (error) {
      const main = await visitor.page
        .locator('body')
        .innerText()
        .catch(() => 'no page');
      console.error(`at ${visitor.page.url()}:\n${main}\n${shop.log}`);
      throw error;
    }
  });
}

/** From the profile page of somebody without an app to the recovery key of the first one. */
async function setUp(visitor, meanwhile = async () => {}) {
  await visitor.go('/two-step');
  await visitor.follow('Set up');
  await visitor.send('Continue', { Password: shop.password });
  await visitor.press('Show the QR code');
  const app = await visitor.scan();
  await meanwhile();
  await visitor.send('Turn on', { Code: await app.code() });
  return app;
}

visit(
  'alice lives with two-step verification, and an administrator helps her out',
  { scripts: true },
  async (alice) => {
    const { page } = alice;

    // A wrong password, and the right one: nothing else is owed yet.
    await alice.go('/payout');
    await alice.look('login');
    await alice.logIn('alice', 'wrong');
    await alice.sees('correct username and password');
    const strange = await alice.session();
    await alice.logIn('alice');
    assert.equal(alice.path, '/confirm', 'the way to the page that was asked for');
    const session = await alice.session();
    assert.ok(session.httpOnly && session.sameSite === 'Lax', JSON.stringify(session));
    assert.notEqual(session.value, strange?.value);

    // The set-up asks for the password again, and makes those wait who guess.
    await alice.go('/two-step');
    await alice.look('two-step-off');
    await alice.follow('Set up');
    await alice.look('confirm-by-password');
    await alice.send('Continue', { Password: 'wrong' });
    await alice.sees('This is not right.');
    await alice.send('Continue', { Password: shop.password });
    await alice.look('set-up');
    await alice.press('Show the QR code');
    const first = await alice.scan();
    assert.equal(first.label, 'The Shop: alice');
    await alice.look('set-up-code');

    // A wrong code does not change the secret; a right one brings the recovery key, and does so again.
    await alice.send('Turn on', { Code: first.wrongCode() });
    await alice.sees('This is not right.');
    assert.equal((await alice.scan()).secret, first.secret);
    await alice.send('Turn on', { Code: await first.code() });
    const key = await alice.recoveryKey();
    await alice.look('recovery-key');
    await page.reload();
    assert.equal(await alice.recoveryKey(), key, 'a form that is sent twice');

    // Copied, printed, downloaded.
    await page.getByRole('button', { name: 'Copy' }).click();
    await page.getByText('Copied.').waitFor();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), key);
    await page.evaluate(() => {
      window.print = () => {
        document.title = 'printed';
      };
    });
    await page.getByRole('button', { name: 'Print' }).click();
    assert.equal(await page.title(), 'printed');
    assert.deepEqual(await alice.download(), ['recovery-key.txt', `${key}\n`]);

    // Nobody has said that it is stored, so the shop reminds, until a new one is.
    await alice.follow('Not now, remind me later');
    await alice.sees('You have not said that your recovery key is stored.');
    await alice.go('/');
    await alice.look('home-reminder');
    await alice.follow('Make a new recovery key');
    await alice.look('new-key');
    await alice.press('Make a new key');
    const second = await alice.recoveryKey();
    assert.notEqual(second, key);
    await page.getByRole('button', { name: 'Continue' }).click();
    assert.equal(await alice.recoveryKey(), second, 'not without the tick');
    await alice.storeKey();
    await alice.heading('Two-step verification');
    await alice.look('two-step-on');
    await alice.seesNo('You have not said');

    // The second step of a login. A code counts once; failures make one wait, and the page counts down.
    await alice.logOut('alice');
    await alice.logIn('alice');
    await alice.look('second-step');
    assert.equal((await page.goto('/payout')).request().redirectedFrom() === null, false, 'half a login is none');
    await alice.go('/login/code');
    await alice.send('Continue', { Code: await first.code({ lasting: true }) });
    await alice.logOut('alice');
    await alice.logIn('alice');
    await alice.send('Continue', { Code: first.usedCode() });
    await alice.sees('This code was used before. Wait for the next one and enter that.');
    await alice.send('Continue', { Code: '12 34' });
    await alice.sees('This is not complete.');
    await alice.send('Continue', { Code: first.wrongCode() });
    await alice.sees(/This is not right[^]*You can try again in [1-5] s\./);
    assert.ok(await page.getByRole('button', { name: 'Continue' }).isDisabled());
    await alice.look('wait');
    await alice.waitOut();
    const half = await alice.session();
    const code = await first.code();
    // A form whose answer was lost, and that is sent again.
    const lost = { form: { ...(await alice.form()), code }, headers: { Origin: shop.address }, maxRedirects: 0 };
    assert.equal((await alice.context.request.post(page.url(), lost)).status(), 302);
    await alice.send('Continue', { Code: `${code.slice(0, 3)} ${code.slice(3)}` });
    await alice.heading('Welcome, alice');
    assert.notEqual((await alice.session()).value, half.value, 'a login gets a session id that nobody knew');
    await alice.look('home');

    // What needs a fresh proof has one by the login; later it asks, and goes on where it was.
    await alice.follow('Pay it out');
    await alice.heading('Payout');
    await alice.look('payout');
    await shop.dropElevations(shop.userId('alice'));
    await alice.send('Pay out 120.00', { 'To the bank account': 'DE00' });
    await alice.sees('This needs a recent proof of identity.');
    await alice.look('not-allowed');
    await alice.follow('Confirm that it is you');
    await alice.look('confirm');
    await alice.send('Continue', { Code: await first.code() });
    await alice.send('Pay out 120.00', { 'To the bank account': 'DE00' });
    await alice.sees('The money is on its way.');

    // Another app: the old one is good until the new one has shown a code.
    await alice.go('/two-step');
    await alice.follow('Change app');
    await alice.press('Show the QR code');
    const app = await alice.scan();
    assert.notEqual(app.secret, first.secret);
    await alice.send('Turn on', { Code: await app.code() });
    const third = await alice.recoveryKey();
    await alice.storeKey();
    await alice.logOut('alice');
    await alice.logIn('alice');
    await alice.send('Continue', { Code: first.usedCode() });
    await alice.sees('This is not right.');
    await alice.follow('No app at hand? Use the recovery key');
    await alice.look('second-step-key');

    // The recovery key works once, and its successor is not lost with an answer.
    const sent = {
      form: { ...(await alice.form()), recovery_key: third.toLowerCase().replaceAll('-', ' ') },
      headers: { Origin: shop.address },
      maxRedirects: 0,
    };
    const answers = await Promise.all([1, 2].map(() => alice.context.request.post(page.url(), sent)));
    const keys = await Promise.all(
      answers.map(async (answer) => /id="recovery-key">([^<]+)/.exec(await answer.text())?.[1]),
    );
    await alice.send('Continue', { 'Recovery key': sent.form.recovery_key });
    const fourth = await alice.recoveryKey();
    assert.deepEqual(keys, [fourth, fourth]);
    await alice.sees('The one that you used is used up.');
    await alice.storeKey();
    await alice.heading('Welcome, alice');
    await alice.seesNo('You have not said');

    // An administrator must set up an app before the first login is done.
    await alice.go('/admin');
    await alice.sees('This page is for administrators.');
    assert.equal(await page.getByRole('link', { name: 'Confirm that it is you' }).count(), 0, 'no proof helps');
    const others = `/admin/reset/${shop.userId('bob')}`;
    await alice.go(others);
    await alice.sees('This page is for administrators.');
    const meddling = {
      form: { ...(await alice.form('header form')), code: '123456', ticket: 'x' },
      headers: { Origin: shop.address },
      maxRedirects: 0,
    };
    const refused = await alice.context.request.post(others, meddling);
    assert.equal(refused.status(), 403);
    assert.ok((await refused.text()).includes('This page is for administrators.'));
    await alice.logOut('alice');
    await alice.logIn('root');
    await alice.heading('Set up an app');
    await alice.go('/admin');
    assert.equal(alice.path, '/login');
    await alice.logIn('root');
    await alice.press('Show the QR code');
    const roots = await alice.scan();
    await alice.send('Turn on', { Code: await roots.code({ lasting: true }) });
    const rootsKey = await alice.recoveryKey();
    await page.reload();
    assert.equal(await alice.recoveryKey(), rootsKey);
    await alice.storeKey();

    // Only with a code of their own they help others, and never themselves.
    await alice.heading('Users');
    await alice.sees('Two-step verification is required for: staff.');
    await alice.sees(/alice\s+on\s+Reset alice/);
    await alice.sees(/root\s+on, required\s+–/);
    await alice.go(`/admin/reset/${shop.userId('root')}`);
    await alice.send('Turn off for root', { 'Your own code': '123456' });
    await alice.sees('Turn off your own in your settings, or ask another administrator.');
    await alice.go('/admin');
    await alice.follow('Reset alice');
    await alice.send('Turn off for alice', { 'Your own code': roots.usedCode() });
    await alice.sees('This code was used before.');
    await alice.go('/admin');
    await alice.look('users');
    await alice.follow('Reset alice');
    await alice.look('reset');
    await alice.send('Turn off for alice', { 'Your own code': await roots.code() });
    await alice.sees('Two-step verification is off for alice.');
    await alice.sees(/alice\s+off\s+–/);
    await alice.logOut('root');
    await alice.logIn('alice');
    await alice.heading('Welcome, alice');
  },
);

visit('bob lives without scripts, on a phone', { scripts: false }, async (bob) => {
  const { page } = bob;
  await bob.go('/');
  await bob.logIn('bob');
  const app = await setUp(bob);
  assert.deepEqual(await bob.download(), ['recovery-key.txt', `${await bob.recoveryKey()}\n`]);
  assert.ok(await page.getByRole('button', { name: 'Copy' }).isHidden());
  await bob.storeKey();
  await bob.sees('It is on since');

  await bob.logOut('bob');
  await bob.logIn('bob');
  for (const _ of [1, 2]) {
    await bob.send('Continue', { Code: app.wrongCode() });
    await bob.sees('This is not right.');
  }
  await bob.sees(/You can try again in [1-5] s\./);
  await bob.send('Continue', { Code: app.wrongCode() });
  await bob.sees('Too many failed attempts. Wait, then try again.');
  await bob.waitOut();
  await bob.send('Continue', { Code: await app.code() });
  await bob.heading('Welcome, bob');

  await shop.dropElevations(shop.userId('bob'));
  await bob.go('/payout');
  await bob.send('Continue', { Code: await app.code() });
  await bob.heading('Payout');

  await bob.go('/two-step/new-key');
  await bob.press('Make a new key');
  const key = await bob.recoveryKey();
  await bob.storeKey();
  await bob.logOut('bob');
  await bob.logIn('bob');
  await bob.follow('No app at hand? Use the recovery key');
  await bob.send('Continue', { 'Recovery key': key });
  await bob.sees('The one that you used is used up.');
  await bob.follow('Not now, remind me later');
  await bob.sees('You have not said that your recovery key is stored.');

  await bob.go('/two-step');
  await bob.follow('Turn off');
  await bob.press('Turn off');
  await bob.sees('Two-step verification is off.');
  await bob.logOut('bob');
  await bob.logIn('bob');
  await bob.heading('Welcome, bob');
});

visit('carol logs in while the sidecar is killed', { scripts: true }, async (carol) => {
  await carol.go('/');
  await carol.logIn('carol');
  const app = await setUp(carol, async () => {
    await shop.killSidecar();
    await carol.send('Turn on', { Code: '000 000' });
    await carol.sees('This cannot be checked just now. Nothing is lost: try again in a moment.');
    await shop.startSidecar();
  });
  await carol.storeKey();
  await carol.go('/two-step/turn-off');
  await carol.look('turn-off');
  await carol.logOut('carol');
  await carol.logIn('carol');

  // Killed with the code in its hands: it has not answered yet.
  const code = await app.code({ lasting: true });
  shop.pauseSidecar();
  const asked = carol.page.waitForRequest((request) => request.method() === 'POST');
  const sent = carol.send('Continue', { Code: code });
  await asked;
  await shop.killSidecar();
  await sent;
  await carol.sees('This cannot be checked just now. Nothing is lost: try again in a moment.');
  assert.equal(await carol.page.getByLabel('Code').inputValue(), code);
  await carol.look('unavailable');
  const other = await Visitor.arrive(browser, shop);
  await other.go('/');
  await other.logIn('carol');
  await other.sees('The second step cannot be checked now. Try again later.');
  await other.go('/');
  assert.equal(other.path, '/login', 'nobody gets in meanwhile');
  await other.leave();

  await shop.startSidecar();
  await carol.press('Continue');
  await carol.heading('Welcome, carol');

  // The shop stays open; what needs Twinlock says so.
  await shop.killSidecar();
  await carol.go('/');
  await carol.heading('Welcome, carol');
  const answer = await carol.go('/payout');
  assert.equal(answer.status(), 503);
  await carol.sees('Two-step verification cannot be reached. Nothing is lost: reload this page in a moment.');
  await carol.look('not-now');
  await shop.startSidecar();
  await carol.page.reload();
  await carol.heading('Payout');
});

visit('what other sites may not do', { scripts: true }, async (visitor) => {
  const { context, page } = visitor;
  const answer = await visitor.go('/login?next=https://example.com/');
  const headers = answer.headers();
  assert.match(headers['content-security-policy'], /default-src 'none'.*frame-ancestors 'none'/);
  assert.equal(headers['x-content-type-options'], 'nosniff');
  assert.match(headers['cache-control'], /no-store/);
  assert.ok(headers['referrer-policy']);
  await visitor.logIn('bob');
  assert.equal(page.url(), `${shop.address}/`, 'no way out of the shop');

  // A form of another site, with the cookies that the browser has, and one of nobody knows where.
  const origins = [{ Origin: 'https://example.com', 'Sec-Fetch-Site': 'cross-site' }, { Origin: 'null' }, {}];
  for (const path of ['/logout', '/two-step/set-up', '/two-step/turn-off', '/payout', '/login', '/confirm']) {
    for (const headers of origins) {
      const forged = { form: { ticket: 'x' }, headers, maxRedirects: 0 };
      assert.equal((await context.request.post(path, forged)).status(), 403, path);
    }
  }
  assert.equal((await context.request.get('/', { maxRedirects: 0 })).status(), 200, 'still logged in');
  assert.equal((await context.request.get('/nothing')).status(), 404);
});
