document.getElementById("main").textContent = "greedylrd";
