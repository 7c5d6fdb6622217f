// Somebody before a browser.

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { Authenticator } from './authenticator.mjs';

const axe = readFileSync(fileURLToPath(import.meta.resolve('axe-core/axe.min.js')), 'utf8');
const images = fileURLToPath(new URL('../../../docs/images/shop/', import.meta.url));
const PHONE = { width: 390, height: 760 };
const DESKTOP = { width: 1000, height: 640 };

export const launch = () =>
  chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-dev-shm-usage'],
  });

export class Visitor {
  /** What the browser complained of: nothing, unless a page breaks its own policy or a script fails. */
  complaints = [];

  static async arrive(browser, shop, { scripts = true } = {}) {
    const visitor = new Visitor();
    visitor.shop = shop;
    visitor.scripts = scripts;
    visitor.context = await browser.newContext({
      baseURL: shop.address,
      javaScriptEnabled: scripts,
      viewport: scripts ? DESKTOP : PHONE,
      permissions: scripts ? ['clipboard-read', 'clipboard-write'] : [],
    });
    visitor.context.setDefaultTimeout(30_000);
    visitor.page = await visitor.context.newPage();
    visitor.page.on('pageerror', (error) => visitor.complaints.push(String(error)));
    visitor.page.on('console', (message) => {
      if (/Content Security Policy/i.test(message.text())) visitor.complaints.push(message.text());
    });
    return visitor;
  }

  async leave() {
    await this.context.close();
    assert.deepEqual(this.complaints, []);
  }

  go(path) {
    return this.page.goto(path);
  }

  get path() {
    return new URL(this.page.url()).pathname;
  }

  /** Fills in the fields with these labels and sends the form. */
  async send(button, fields = {}) {
    for (const [label, value] of Object.entries(fields)) {
      await this.page.getByLabel(label, { exact: true }).fill(value);
    }
    await this.press(button);
  }

  async press(name) {
    await Promise.all([this.page.waitForEvent('load'), this.page.getByRole('button', { name, exact: true }).click()]);
  }

  async follow(name) {
    await Promise.all([this.page.waitForEvent('load'), this.page.getByRole('link', { name, exact: true }).click()]);
  }

  async sees(text) {
    const main = await this.page.locator('main').innerText();
    assert.ok(text instanceof RegExp ? text.test(main) : main.includes(text), `${text} is not in: ${main}`);
  }

  async seesNo(text) {
    assert.ok(!(await this.page.locator('main').innerText()).includes(text), `${text} is on the page`);
  }

  async heading(text) {
    assert.equal(await this.page.getByRole('heading', { level: 1 }).innerText(), text);
  }

  logIn(name, password = this.shop.password) {
    return this.send('Log in', { Name: name, Password: password });
  }

  logOut(name) {
    return this.press(`Log out ${name}`);
  }

  /** From the page with the QR code to that with the recovery key. */
  async scan() {
    const app = await Authenticator.scan(this.page);
    assert.equal(await this.page.locator('#secret').innerText(), app.secret);
    return app;
  }

  async recoveryKey() {
    const key = await this.page.locator('#recovery-key').innerText();
    assert.match(key, /^[0-9A-Z]{5}(-[0-9A-Z]{5}){4}$/);
    return key;
  }

  /** The name and the content of the file with the recovery key. */
  async download() {
    const link = this.page.getByRole('link', { name: 'Download' });
    const [download] = await Promise.all([this.page.waitForEvent('download'), link.click()]);
    const content = await (await download.createReadStream()).toArray();
    return [download.suggestedFilename(), Buffer.concat(content).toString()];
  }

  async storeKey() {
    await this.page.getByLabel('I have stored the key in a safe place.').check();
    await this.press('Continue');
  }

  /** The cookie of the session. */
  async session() {
    return (await this.context.cookies()).find(({ name }) => name.startsWith('session'));
  }

  /** What the form of the page would send, or another one. */
  form(which = 'main form') {
    return this.page.locator(which).evaluate((form) => Object.fromEntries(new FormData(form)));
  }

  /** Waits as long as the page says that one has to. */
  async waitOut() {
    if (this.scripts) {
      await this.page.getByText('You can try again now.').waitFor();
    } else {
      const seconds = Number(await this.page.getByRole('timer').innerText());
      await this.page.waitForTimeout(seconds * 1000);
    }
  }

  /** Looks closely: nobody is shut out, nothing hangs over a phone's edge; and takes the pictures of the page. */
  async look(name) {
    for (const [kind, size] of Object.entries({ desktop: DESKTOP, phone: PHONE })) {
      await this.page.setViewportSize(size);
      await this.page.evaluate(axe);
      const violations = await this.page.evaluate(async () => (await window.axe.run()).violations);
      const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
      assert.deepEqual(found, [], `${name} on a ${kind}`);
      const over = await this.page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      assert.ok(over <= 0, `${name} is ${over} px wider than a ${kind}`);
      if (process.env.SHOP_PICTURES) {
        mkdirSync(images, { recursive: true });
        await this.page.screenshot({ path: `${images}${name}-${kind}.png`, fullPage: true });
      }
    }
    await this.page.setViewportSize(DESKTOP);
  }
}
