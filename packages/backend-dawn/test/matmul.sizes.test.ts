import { productTests } from './productsOn.js';

productTests(null);
