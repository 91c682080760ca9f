// What a form has done, or what is wrong with it, gets the focus: it is read aloud, and the keyboard goes on there.
const message = document.querySelector(".messagelist, .errornote, .errorlist");
if (message) {
    message.tabIndex = -1;
    message.focus();
}
