import '../react/ui/theme.css';
import './page.css';
import { createRoot } from 'react-dom/client';
import { App } from './app.js';
import { applyTheme } from './theme.js';

applyTheme();
const page = document.getElementById('page');
if (page !== null) createRoot(page).render(<App />);
