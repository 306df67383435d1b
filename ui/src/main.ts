import './kit/tokens.css';
import './kit/base.css';
import { mount } from 'svelte';
import { connect } from '$lib/transport';
import { Model } from '$lib/state/model';
import App from './App.svelte';

const target = document.getElementById('app');
if (!target) throw new Error('find the element #app');
mount(App, { target, props: { model: new Model(await connect()) } });
