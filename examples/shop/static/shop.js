// What makes the pages nicer. They work without it.
'use strict';

// A second click on the way is no second form; a page that comes back by the back button is usable again.
for (const form of document.forms) {
  form.addEventListener('submit', (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = 'yes';
  });
}
addEventListener('pageshow', () => {
  for (const form of document.forms) delete form.dataset.sent;
});

for (const line of document.querySelectorAll('[data-wait]')) {
  const button = document.querySelector('main form button');
  const until = performance.now() + 1000 * Number(line.dataset.wait);
  button.disabled = true;
  const timer = setInterval(() => {
    const left = Math.ceil((until - performance.now()) / 1000);
    if (left > 0) {
      line.querySelector('[role=timer]').textContent = left;
      return;
    }
    clearInterval(timer);
    button.disabled = false;
    line.textContent = 'You can try again now.';
  }, 250);
}

for (const button of document.querySelectorAll('[data-copy]')) {
  button.hidden = false;
  button.addEventListener('click', async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    document.getElementById('copied').textContent = 'Copied.';
  });
}

for (const button of document.querySelectorAll('[data-print]')) {
  button.hidden = false;
  button.addEventListener('click', () => print());
}
