import '../react/ui/theme.css';
import './page.css';
import './engine/engine.css';
import { createRoot } from 'react-dom/client';
import { App } from './app.js';
import { applyTheme } from './choices.js';

applyTheme();
// A relative address would be resolved again after each change of the address of the page.
for (const link of document.querySelectorAll('link')) link.setAttribute('href', link.href);
const page = document.getElementById('page');
if (page !== null) createRoot(page).render(<App />);
