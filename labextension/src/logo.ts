/** The shield: in colour for cards, in the theme's own colour for the side bar. */

import { LabIcon } from '@jupyterlab/ui-components';

import mark from '../style/mark.svg';
import logo from '../../aegis_kernel/kernelspec/logo-svg.svg';

export const logoIcon = new LabIcon({ name: 'aegis:logo', svgstr: logo });
export const markIcon = new LabIcon({ name: 'aegis:mark', svgstr: mark });
