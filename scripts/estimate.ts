export { estimate } from 'alignbook/dist/moments';
